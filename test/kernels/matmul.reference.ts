/** Matmul with everything around it, in float64, one sum an element. */
import type { MatmulOptions } from "../../src/kernels/calls.ts";
import { ACTIVATIONS, softCapped } from "../../src/ops/activations.ts";

export interface MatmulCase {
  x: Float32Array;
  rows: number;
  /** [outWidth, columns] */
  W: Float32Array;
  outWidth: number;
  columns: number;
  /** What `out` held before. */
  before: Float32Array;
  bias: Float32Array | undefined;
  options: Omit<MatmulOptions, "bias">;
}

/** `out` after out[r, n] (+ or *)= cap(act((x[r] · W[n] + bias[n]) * scale)). */
export function matmulReference({ x, rows, W, outWidth, columns, before, bias, options }: MatmulCase): Float64Array {
  const { width = columns, rowStart = 0, weightColumn = 0, outStart = 0, scale = 1 } = options;
  const { rowStride = width, outStride = outWidth, activation = "identity", combine = "replace" } = options;
  const out = Float64Array.from(before);
  for (let row = 0; row < rows; row++) {
    for (let n = 0; n < outWidth; n++) {
      let sum = bias ? (bias[n] as number) : 0;
      for (let k = 0; k < width; k++) {
        sum += (x[rowStart + row * rowStride + k] as number) * (W[n * columns + weightColumn + k] as number);
      }
      const value = softCapped(ACTIVATIONS[activation](sum * scale), options.softCap);
      const at = outStart + row * outStride + n;
      const before = out[at] as number;
      out[at] = { replace: value, add: before + value, multiply: before * value }[combine];
    }
  }
  return out;
}
