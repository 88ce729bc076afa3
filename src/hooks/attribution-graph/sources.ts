/** What there is to attribute to: active features with the vectors that they read and write, and what they leave of the MLPs' outputs. */
import type { Gpu } from "../../gpu/gpu.ts";
import { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import type { Matrix } from "../../kernels/matrix.ts";
import type { ActivationCache } from "../activation-cache.ts";
import type { HookedModel } from "../hooked-model.ts";
import { activeFeatures } from "../modules/active.ts";
import { recordRows } from "../readouts/directions.ts";
import { givenPoint, type Transcoder } from "./linear.ts";

/** An active feature at a position. */
export interface ActiveFeature {
  readonly transcoder: Transcoder;
  readonly position: number;
  readonly feature: number;
  readonly activation: number;
  /** [dIn] */
  readonly encoder: Float32Array;
  /** For each block that it writes to, by the point, its direction [dOut]. */
  readonly decoders: ReadonlyMap<string, Float32Array>;
}

/** Every active feature from a position on, by layer, position and number. */
export async function readFeatures(
  model: HookedModel,
  transcoders: readonly Transcoder[],
  ids: readonly number[],
  firstPosition: number,
  signal: AbortSignal | undefined,
): Promise<ActiveFeature[]> {
  const dictionaries = [...new Set(transcoders.map(({ dictionary }) => dictionary))];
  const active = [];
  for (const each of dictionaries) active.push(...(await activeFeatures(model, each, [ids], signal)));
  const found: ActiveFeature[] = [];
  for (const transcoder of transcoders) {
    const { module, weights } = transcoder;
    const places = active.filter(({ hook, position }) => hook === module.hookIn && position >= firstPosition);
    const features = [...new Set(places.flatMap((place) => [...place.features]))];
    const rowsOf = (name: string) => readRows(model.gpu, weights[name] as Matrix, features, signal);
    const encoders = await rowsOf("W_enc");
    const writes = [{ hook: module.hookOut, decoder: "W_dec" }, ...module.writes];
    const decoders: [string, Map<number, Float32Array>][] = [];
    for (const { hook, decoder } of writes) decoders.push([hook, await rowsOf(decoder)]);
    for (const { position, features: own, activations } of places) {
      own.forEach((feature, index) => {
        found.push({
          ...{ transcoder, position, feature, activation: activations[index] as number },
          encoder: encoders.get(feature) as Float32Array,
          decoders: new Map(decoders.map(([hook, rows]) => [hook, rows.get(feature) as Float32Array])),
        });
      });
    }
  }
  return found;
}

/** Rows that fit one temporary of 16 MB. */
const ROW_ELEMENTS = 4 << 20;

/** Some rows of a matrix, in float32. */
async function readRows(
  gpu: Gpu,
  matrix: Matrix,
  rows: readonly number[],
  signal: AbortSignal | undefined,
): Promise<Map<number, Float32Array>> {
  const { width } = matrix;
  const found = new Map<number, Float32Array>();
  const perRead = Math.max(1, Math.floor(ROW_ELEMENTS / width));
  for (let first = 0; first < rows.length; first += perRead) {
    const some = rows.slice(first, first + perRead);
    const record = (recorder: Recorder) => recorder.readback(recordRows(recorder, matrix, some));
    const values = new Float32Array((await Recorder.run(gpu, "rows of a dictionary", record, { signal })).bytes);
    for (const [index, row] of some.entries()) found.set(row, values.subarray(index * width, (index + 1) * width));
  }
  return found;
}

/** What stands at an MLP's output besides features: what they leave of it [pos, dOut], and the decoder's bias [dOut]. */
export interface Remainder {
  readonly layer: number;
  /** The MLP's output. */
  readonly hook: string;
  readonly error: Float64Array;
  readonly bias: Float32Array;
}

/** The error of each block: the given point less the decoder's bias and the features' directions. */
export async function readRemainders(
  transcoders: readonly Transcoder[],
  features: readonly ActiveFeature[],
  cache: ActivationCache,
): Promise<Remainder[]> {
  return Promise.all(
    transcoders.map(async ({ module, weights, layer }) => {
      const { hookOut: hook, dOut } = module;
      const bias = await (weights.outputShift as { b: Tensor }).b.read();
      const given = await cache.read(givenPoint(module));
      const error = Float64Array.from(given, (value, i) => value - (bias[i % dOut] as number));
      for (const { position, activation, decoders } of features) {
        const direction = decoders.get(hook);
        direction?.forEach((value, d) => {
          error[position * dOut + d] = (error[position * dOut + d] as number) - activation * value;
        });
      }
      return { layer, hook, error, bias };
    }),
  );
}
