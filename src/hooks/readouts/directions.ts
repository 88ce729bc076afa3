/**
 * Logits as directions of the residual stream.
 *
 * Before the soft cap, logit(t) = scale (W_U[t] · (w * centre(x) / s + b) + b_U[t]) with the final norm's weight w, bias b and
 * scale s. With s held fixed it is linear in x: a direction u = scale * centre(w * W_U[t]) with logit(t) = x·u / s + constants
 * (centring is symmetric, so it can be done to the direction once instead of to every component).
 */
import { HookError } from "../../errors.ts";
import type { Recorder } from "../../gpu/recorder.ts";
import type { Tensor } from "../../gpu/tensor.ts";
import { embed, matmul } from "../../kernels/calls.ts";
import type { Matrix, NormWeights } from "../../kernels/matrix.ts";
import { indexOfNoId } from "../../model/input.ts";
import type { ModelSpec } from "../../model/spec.ts";
import { RowTable } from "../../ops/rows.ts";
import type { HookedModel } from "../hooked-model.ts";

/** The logit of `token`, or its difference to the logit of `minus`. */
export interface LogitTarget {
  token: number;
  minus?: number | undefined;
}

/** A target as a linear function of what the unembedding reads. */
export interface LogitDirection {
  /** [dModel]; target = (x · residual) / s + fromNormBias + fromUnembedBias for the residual x and the final norm's scale s. */
  residual: Float64Array;
  /** [dModel]; target = (n · normalized) + the same constants, for n = ln_final.hook_normalized. */
  normalized: Float64Array;
  fromNormBias: number;
  fromUnembedBias: number;
}

/** @throws HookError `hook/token-range`. */
export async function logitDirections(model: HookedModel, targets: readonly LogitTarget[]): Promise<LogitDirection[]> {
  const { spec } = model;
  const { engine } = model;
  const { lnFinal, b_U } = engine.weights;
  const tokens = [...new Set(targets.flatMap(({ token, minus }) => (minus === undefined ? [token] : [token, minus])))];
  checkTokens(tokens, spec.vocabSize);
  const rows = await unembedRows(model, tokens);
  const hasNorm = spec.norm.kind !== "none";
  const factor = hasNorm ? await normFactor(model, lnFinal) : undefined;
  const normBias = hasNorm ? await engine.readVector(lnFinal?.b) : undefined;
  const biasOf = async (token: number) => (await engine.readVector(b_U, token, token + 1))?.[0] ?? 0;
  const biases = new Map(await Promise.all(tokens.map(async (token) => [token, await biasOf(token)] as const)));
  return targets.map(({ token, minus }) => {
    const column = difference(rows.get(token) as Float32Array, minus === undefined ? undefined : rows.get(minus));
    const normalized = column.map((value, d) => spec.unembed.scale * value * (factor?.[d] ?? 1));
    return {
      normalized,
      residual: centredFor(spec, normalized),
      fromNormBias: normBias ? spec.unembed.scale * dot(column, normBias) : 0,
      fromUnembedBias:
        spec.unembed.scale *
        ((biases.get(token) as number) - (minus === undefined ? 0 : (biases.get(minus) as number))),
    };
  });
}

export function checkTokens(tokens: readonly number[], vocabSize: number): void {
  const bad = indexOfNoId(tokens, vocabSize);
  if (bad >= 0)
    throw new HookError(
      "hook/token-range",
      `Token ${String(tokens[bad])} is out of range; ids go from 0 to ${vocabSize - 1}.`,
    );
}

/** What a norm multiplies by: weight + offset; undefined for none. */
export async function normFactor(
  { engine, spec }: HookedModel,
  weights: NormWeights | undefined,
): Promise<Float64Array | undefined> {
  const w = await engine.readVector(weights?.w);
  return w && Float64Array.from(w, (value) => value + spec.norm.weightOffset);
}

/** Rows of W_U, [dModel] each. */
async function unembedRows(model: HookedModel, tokens: readonly number[]): Promise<Map<number, Float32Array>> {
  const { dModel } = model.spec;
  const read = await model.engine.record("unembedding rows", (recorder) =>
    recorder.readback(recordRows(recorder, model.engine.weights.W_U, tokens)),
  );
  const values = new Float32Array(read.bytes);
  return new Map(tokens.map((token, row) => [token, values.subarray(row * dModel, (row + 1) * dModel)]));
}

/** A temporary [rows.length, width] of some rows of a matrix, in float32. */
export function recordRows(recorder: Recorder, matrix: Matrix, rows: readonly number[]): Tensor {
  const table = new RowTable(rows.length);
  rows.forEach((row, index) => {
    table.set(index, 0, 0, 0, row);
  });
  const out = recorder.temp(rows.length, matrix.width);
  embed(recorder, recorder.upload(table.data), rows.length, matrix, out, { by: "token" });
  return out;
}

/** A temporary [rows, directions.length] of dot products of x [rows, width] with each direction [width]. */
export function recordDots(recorder: Recorder, x: Tensor, rows: number, directions: readonly Float64Array[]): Tensor {
  const width = directions[0]?.length ?? 0;
  const stride = Math.ceil(width / 4) * 4;
  const packed = new Float32Array(stride * directions.length);
  directions.forEach((direction, row) => {
    packed.set(direction, row * stride);
  });
  const { buffer } = recorder.upload(packed);
  const matrix: Matrix = {
    outWidth: directions.length,
    layout: "linear",
    width,
    stride,
    storage: "f32",
    parts: [{ buffer, firstRow: 0, rows: directions.length }],
  };
  const out = recorder.temp(rows, directions.length);
  matmul(recorder, x, rows, matrix, out);
  return out;
}

function centred(values: Float64Array): Float64Array {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return values.map((value) => value - mean);
}

/** Centred where the norm subtracts the mean. */
export function centredFor(spec: ModelSpec, values: Float64Array): Float64Array {
  return spec.norm.kind === "layer" ? centred(values) : values;
}

export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] as number) * (b[i] as number);
  return sum;
}

function difference(a: Float32Array, b: Float32Array | undefined): Float64Array {
  return Float64Array.from(a, (value, d) => value - (b?.[d] ?? 0));
}
