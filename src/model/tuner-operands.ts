/** What the tuner multiplies, and how it tells a right product from a wrong one. */
import { GpuError } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { ROW_CLASSES, type ShapeClass } from "./choices.ts";
import type { StorageType } from "./kernels.ts";
import { matmul } from "./ops.ts";
import { type Product, REFERENCE_PRODUCT } from "./products.ts";
import { ELEMENT_BYTES, type Matrix } from "./weights.ts";

/** The side of the matrix that is timed: GPT-2's, small enough for a CPU. */
export const SIDE = 768;

/** Largest difference from the reference, relative to its largest value; right ones differ by 2e-7 to 2e-6. */
export const TOLERANCE = 1e-5;

/** Whether an error says that the driver does not take a kernel, and no more than that. */
export function isRefused(error: unknown): error is GpuError {
  return error instanceof GpuError && /shader|validation/.test(error.code);
}

/** The largest relative error of a product on the width that was timed, and on one where nothing is even. */
export async function errorOf(operands: Operands, product: Product, { rows, ...kind }: ShapeClass): Promise<number> {
  const timed = { rows: rows.typical, W: operands.matrix(kind, SIDE, 200) };
  const odd = { rows: Math.max(1, rows.typical - 1), W: operands.matrix(kind, 70, 77) };
  let largest = 0;
  for (const { rows, W } of [timed, odd]) {
    const actual = await operands.product(product, rows, W);
    const expected = await operands.product(REFERENCE_PRODUCT, rows, W);
    largest = Math.max(largest, relativeError(actual, expected));
  }
  return largest;
}

/** The largest difference, relative to the largest value expected; infinite when something is not a number. */
function relativeError(actual: Float32Array, expected: Float32Array): number {
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const difference = expected.reduce((most, value, i) => Math.max(most, Math.abs(value - (actual[i] as number))), 0);
  return Number.isFinite(difference) ? difference / largest : Number.POSITIVE_INFINITY;
}

/**
 * Bits that make any word a number, or two, of magnitude 0.5 to 1: random sign and fraction, the exponent of 0.5. Sums
 * of their products stay in range, and no value is small enough for an error to hide in it.
 */
const EXPONENT: Record<StorageType, { keep: number; exponent: number }> = {
  f32: { keep: 0x807fffff, exponent: 0x3f000000 },
  f16: { keep: 0x83ff83ff, exponent: 0x38003800 },
  bf16: { keep: 0x807f807f, exponent: 0x3f003f00 },
};

/** `count` words of random numbers, by xorshift32. */
function randomWords(count: number, storage: StorageType, seed: number): Uint32Array {
  const { keep, exponent } = EXPONENT[storage];
  let state = seed;
  return new Uint32Array(count).map(() => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state & keep) | exponent;
  });
}

/** What is multiplied: random rows, and for each storage one buffer of random weights, which serves every shape. */
export class Operands {
  readonly x: Tensor;
  readonly out: Tensor;
  readonly #weights = new Map<StorageType, Tensor>();

  constructor(private readonly gpu: Gpu) {
    const most = Math.max(...ROW_CLASSES.map(({ typical }) => typical));
    this.x = gpu.tensorFrom(randomWords(most * SIDE, "f32", 1), [most, SIDE], "rows for timing");
    this.out = gpu.tensor([most, SIDE], "result for timing");
  }

  matrix({ layout, storage }: Pick<Matrix, "layout" | "storage">, width: number, outWidth: number): Matrix {
    const stride = 4 * Math.ceil((layout === "linear" ? width : outWidth) / 4);
    const { buffer } = this.#weightsOf(storage);
    return { outWidth, width, layout, stride, storage, parts: [{ buffer, firstRow: 0, rows: outWidth }] };
  }

  #weightsOf(storage: StorageType): Tensor {
    let weights = this.#weights.get(storage);
    if (!weights) {
      const words = (SIDE * SIDE * ELEMENT_BYTES[storage]) / 4;
      weights = this.gpu.tensorFrom(randomWords(words, storage, 2), [words], "weights for timing");
      this.#weights.set(storage, weights);
    }
    return weights;
  }

  /** What a product computes, [rows, W.outWidth]; it starts from zeros, so that what it leaves out shows. */
  async product(product: Product, rows: number, W: Matrix): Promise<Float32Array> {
    using out = this.gpu.tensor([rows, W.outWidth], "result to check");
    const result = await Recorder.run(this.gpu, `check of ${product.name}`, (recorder) => {
      matmul(recorder, this.x, rows, W, out, { product });
      return recorder.readback(out);
    });
    return new Float32Array(result.bytes);
  }

  destroy(): void {
    for (const tensor of [this.x, this.out, ...this.#weights.values()]) tensor.destroy();
  }
}
