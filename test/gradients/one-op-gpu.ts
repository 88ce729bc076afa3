/** The gradients of one op by the dispatches, in memory that held what is no number before. */
import type { Gpu } from "../../src/gpu/gpu.ts";
import { readBuffer } from "../../src/gpu/readback.ts";
import { Recorder } from "../../src/gpu/recorder.ts";
import { Tensor } from "../../src/gpu/tensor.ts";
import { lower } from "../../src/graph/lower.ts";
import { place } from "../../src/graph/place.ts";
import { copy } from "../../src/kernels/elementwise.ts";
import type { Matrix, MatrixPart, WeightLayout } from "../../src/kernels/matrix.ts";
import { packedView, type View } from "../../src/kernels/view.ts";
import type { Bindings } from "../../src/ops/bindings.ts";
import { CAPTURE } from "../../src/ops/capture.ts";
import { defineOp, type Op, type WeightLookup, type WeightRef } from "../../src/ops/op.ts";
import type { Gradients, OneOpRun } from "./one-op.ts";

/** How weights lie. */
export interface Storage {
  readonly layout?: WeightLayout;
  /** Into how many parts matrices in linear layout are cut. */
  readonly parts?: number;
}

const READ = defineOp<{ readonly into: (elements: number) => Tensor }>({
  name: "read",
  formula: "x, kept",
  shapes: () => [],
  hasEffect: true,
  lower({ recorder, attributes: { into }, inputs, rows }) {
    const [x] = inputs as [View];
    const out = into(rows.count * x.heads * x.width);
    copy(recorder, x, packedView(out, x.width, x.heads), rows.count);
  },
});

/** What the weights' gradients are added to, and what is taken off again. */
const BEFORE = 0.5;

export async function gradientsOnGpu(gpu: Gpu, run: OneOpRun, storage: Storage = {}): Promise<Gradients> {
  const made: Tensor[] = [];
  const keep = (tensor: Tensor) => {
    made.push(tensor);
    return tensor;
  };
  const gradients = new Map<number, Tensor>();
  const graph = run.backward();
  const ops = graph.ops.map((op): Op => {
    if ((op.kind as unknown) !== CAPTURE) return op;
    const { index } = op.attributes as { index: number };
    const into = (elements: number) => {
      const tensor = keep(gpu.tensor([elements], "gradient"));
      gradients.set(index, tensor);
      return tensor;
    };
    return { ...op, kind: READ, attributes: { into } } as unknown as Op;
  });
  const weights = new GpuWeights(gpu, run, storage, keep);
  await poison(gpu);
  await Recorder.run(gpu, "one op", (recorder) => {
    lower(recorder, place({ ...graph, ops }), weights.values, bindingsOf(recorder, run, weights, keep));
  });
  const inputs = await Promise.all(
    run.numbers.inputs.map(async ({ length }, index) =>
      Float64Array.from((await gradients.get(index)?.read()) ?? new Float64Array(length)),
    ),
  );
  const result = { inputs, weights: await weights.read() };
  for (const tensor of made) tensor.destroy();
  return result;
}

/** Fills memory that passes will take with NaN: who reads more than was written shows it. */
async function poison(gpu: Gpu): Promise<void> {
  await Recorder.run(gpu, "poison", (recorder) => {
    for (let size = 64; size <= 4096; size *= 2) {
      const nothing = recorder.upload(new Float32Array(size).fill(Number.NaN));
      for (let count = 0; count < 4; count++) {
        copy(recorder, packedView(nothing, size), packedView(recorder.temp(size), size), 1);
      }
    }
  });
}

function bindingsOf(
  recorder: Recorder,
  { rows, keyCount, op, lengths }: OneOpRun,
  weights: GpuWeights,
  keep: (tensor: Tensor) => Tensor,
): Bindings {
  const { gpu } = recorder;
  const causal = (op.attributes as { causal?: boolean }).causal !== false;
  const slotStride = keyCount + (causal ? 0 : 1);
  const slots = new Uint32Array(lengths.length * slotStride);
  for (let row = 0; row < rows.count; row++)
    slots[rows.sequence(row) * slotStride + rows.position(row)] = rows.slot(row);
  if (!causal) for (const [sequence, length] of lengths.entries()) slots[(sequence + 1) * slotStride - 1] = length;
  const widest = Math.max(4, ...op.inputs.map(({ heads, width }) => heads * (width === "keys" ? keyCount : width)));
  const cache = () => keep(gpu.tensor([rows.count * widest], "cache")).buffer;
  return {
    rows,
    rowTable: recorder.upload(rows.data),
    outputRows: op.outputRows,
    picked: op.outputRows,
    store: { keys: [cache()], values: [cache()] },
    slotTable: recorder.upload(slots),
    slotStride,
    keyCount,
    ropeTables: op.ropeTable ? [recorder.upload(op.ropeTable)] : [],
    alibi: op.slopes && recorder.upload(Float32Array.from(op.slopes)),
    logits: { tensor: keep(gpu.tensor([rows.count, 1], "metric")), firstRow: 0 },
    hooks: op.edit && { edits: [op.edit], captures: [], callbacks: [], positions: [], allPositions: [] },
    seed: () => undefined,
    gradients: weights.gradients,
  };
}

/** A weight, or its gradient: a matrix, or a vector as a matrix of one row. */
class GpuWeights {
  readonly #own = new Map<string, Matrix>();
  readonly #gradients = new Map<string, Matrix>();

  constructor(
    private readonly gpu: Gpu,
    private readonly run: OneOpRun,
    private readonly storage: Storage,
    private readonly keep: (tensor: Tensor) => Tensor,
  ) {
    for (const [name, numbers] of run.numbers.weights) {
      this.#own.set(name, this.#upload(name, numbers));
      this.#gradients.set(
        name,
        this.#upload(
          name,
          numbers.map(() => BEFORE),
        ),
      );
    }
  }

  #upload(name: string, numbers: Float64Array): Matrix {
    const shape = this.run.op.weights?.[name] as readonly number[];
    const [outWidth, width] = shape.length === 2 ? (shape as [number, number]) : [1, shape[0] as number];
    const layout = shape.length === 2 ? (this.storage.layout ?? "linear") : "linear";
    const isLinear = layout === "linear";
    const stride = 4 * Math.ceil((isLinear ? width : outWidth) / 4);
    const most = isLinear ? Math.ceil(outWidth / (this.storage.parts ?? 1)) : outWidth;
    const parts: MatrixPart[] = [];
    for (let firstRow = 0; firstRow < outWidth; firstRow += most) {
      const rows = Math.min(most, outWidth - firstRow);
      const data = new Float32Array((isLinear ? rows : width) * stride);
      for (let n = 0; n < rows; n++) {
        for (let k = 0; k < width; k++)
          data[isLinear ? n * stride + k : k * stride + n] = numbers[(firstRow + n) * width + k] as number;
      }
      const { buffer } = this.keep(this.gpu.tensorFrom(data, [data.length], name));
      parts.push({ buffer, firstRow, rows });
    }
    return { outWidth, width, layout, stride, storage: "f32", parts };
  }

  #tensor(of: ReadonlyMap<string, Matrix>, key: string): Tensor | undefined {
    const matrix = of.get(key);
    const buffer = matrix?.parts[0]?.buffer;
    return buffer && new Tensor(this.gpu, buffer, [matrix.width]);
  }

  get values(): WeightLookup {
    const part = (ref: WeightRef, key: "w" | "b") => {
      const tensor = this.#tensor(this.#own, `${ref.name}.${key}`);
      return tensor && { [key]: tensor };
    };
    return {
      matrix: ({ name }) => this.#own.get(name) as Matrix,
      vector: (ref) => ref && this.#tensor(this.#own, ref.name),
      norm: (ref) => ({ ...part(ref, "w"), ...part(ref, "b") }),
    };
  }

  get gradients(): NonNullable<Bindings["gradients"]> {
    return {
      matrix: ({ name }) => this.#gradients.get(name) as Matrix,
      vector: ({ name }, part) => this.#tensor(this.#gradients, part ? `${name}.${part}` : name) as Tensor,
    };
  }

  /** What was added to the gradients. */
  async read(): Promise<Map<string, Float64Array>> {
    const found = new Map<string, Float64Array>();
    for (const [name, { outWidth, width, layout, stride, parts }] of this.#gradients) {
      const numbers = new Float64Array(outWidth * width);
      for (const { buffer, firstRow, rows } of parts) {
        const data = new Float32Array(await readBuffer(this.gpu, buffer, 0, buffer.size));
        for (let n = 0; n < rows; n++) {
          for (let k = 0; k < width; k++) {
            numbers[(firstRow + n) * width + k] =
              (data[layout === "linear" ? n * stride + k : k * stride + n] as number) - BEFORE;
          }
        }
      }
      found.set(name, numbers);
    }
    return found;
  }
}
