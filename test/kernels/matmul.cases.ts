/** Cases of matmul, and one kernel compared with the plain reference; for any host. */
import { f32ToBf16, f32ToF16, toFloat32 } from "../../src/checkpoint/index.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { type MatmulOptions, matmul } from "../../src/kernels/calls.ts";
import { MATMUL_FAMILY } from "../../src/kernels/matmul.ts";
import type { MatmulKernel } from "../../src/kernels/matmul-kernels.ts";
import type { Matrix, MatrixPart, WeightLayout } from "../../src/kernels/matrix.ts";
import type { StorageType } from "../../src/kernels/storage.ts";
import { type BlockStorage, ELEMENT_BYTES, isBlockStorage, rowStep } from "../../src/kernels/storage.ts";
import { randomWords } from "../../src/kernels/tuning/workload.ts";
import { fromStorage } from "../../src/model/weights/storage.ts";
import { gaussians, relativeError, seeded } from "../support/numbers.ts";
import { compute } from "./compute.ts";
import { matmulReference } from "./matmul.reference.ts";

export const ALL_MATMULS = [MATMUL_FAMILY.reference, ...MATMUL_FAMILY.candidates];

/** Left to the night: it is `tiled 32x32` with more invocations, and takes SwiftShader over a second to compile. */
export const isForTheNight = ({ name }: MatmulKernel) => name === "tiled 64x64";

/** f32 sums of up to a thousand products; seen: 2e-7 to 2e-6. */
export const TOLERANCE = 1e-5;

export interface Case {
  name: string;
  rows: number;
  width: number;
  outWidth: number;
  bias?: boolean;
  /** Rows of each part of the weights; default: one part. */
  parts?: number[];
  /** Columns of W when more than `width` are stored. */
  columns?: number;
  options?: Omit<MatmulOptions, "bias">;
}

export const shape = (rows: number, width: number, outWidth: number): Case => ({
  name: `${rows} x ${width} x ${outWidth}`,
  rows,
  width,
  outWidth,
});

/** One row, one column, multiples of the tiles and one more or less, widths of every remainder by four. */
export const SHAPES: Case[] = [
  shape(1, 1, 1),
  shape(1, 4, 5),
  shape(1, 300, 1000),
  shape(2, 6, 3),
  shape(3, 5, 7),
  shape(4, 64, 64),
  shape(5, 15, 33),
  shape(16, 16, 64),
  shape(17, 20, 65),
  shape(63, 31, 130),
  shape(64, 48, 128),
  shape(65, 130, 67),
  shape(130, 1001, 70),
];

/** Whether a kernel takes such a case at all, on whatever device. */
export function suits(kernel: MatmulKernel, layout: WeightLayout, { rows, parts }: Case): boolean {
  return rows >= kernel.rows.least && rows <= kernel.rows.most && (layout === "linear" || !parts);
}

/** The bytes of W as the loader lays them out, rows padded to a multiple of four, and the values they stand for. */
export function stored(W: Float32Array, outWidth: number, storage: StorageType, layout: WeightLayout) {
  if (layout === "linear") return storedRows(W, W.length / outWidth, storage);
  const { values, ...rest } = storedRows(transposed(W, outWidth), outWidth, storage);
  return { ...rest, values: transposed(values, W.length / outWidth) };
}

/** [rows, columns] to [columns, rows]. */
function transposed(values: Float32Array, rows: number): Float32Array {
  const columns = values.length / rows;
  return values.map((_, index) => values[(index % rows) * columns + Math.floor(index / rows)] as number);
}

function storedRows(values: Float32Array, columns: number, storage: StorageType) {
  const stride = Math.ceil(columns / rowStep(storage)) * rowStep(storage);
  const rows = values.length / columns;
  if (isBlockStorage(storage)) return storedBlocks(values, rows, columns, stride, storage);
  const padded = new Float32Array(rows * stride).fill(7); // what lies in the padding must not matter
  for (let row = 0; row < rows; row++) {
    padded.set(values.subarray(row * columns, (row + 1) * columns), row * stride);
  }
  if (storage === "f32") return { bytes: new Uint8Array(padded.buffer), stride, values };
  const codes = (storage === "f16" ? f32ToF16 : f32ToBf16)(padded);
  const rounded = (storage === "f16" ? f32ToF16 : f32ToBf16)(values);
  const dtype = storage === "f16" ? ("F16" as const) : ("BF16" as const);
  return {
    bytes: new Uint8Array(codes.buffer),
    stride,
    values: toFloat32(new Uint8Array(rounded.buffer), dtype),
  };
}

/** Blocks of random codes and of scales that keep the numbers near those given: what any type's decoding makes of them. */
function storedBlocks(values: Float32Array, rows: number, columns: number, stride: number, storage: BlockStorage) {
  const words = randomWords(
    (rows * stride * ELEMENT_BYTES[storage]) / 4,
    storage,
    1 + Math.trunc(1e6 * Math.abs(values[0] as number)),
  );
  const bytes = new Uint8Array(words.buffer);
  const whole = fromStorage(bytes, storage);
  const taken = values.map((_, i) => whole[Math.floor(i / columns) * stride + (i % columns)] as number);
  return { bytes, stride, values: taken };
}

export function upload(
  gpu: Gpu,
  bytes: Uint8Array,
  matrix: Omit<Matrix, "parts">,
  partRows: readonly number[],
): Matrix {
  const rowBytes = matrix.stride * ELEMENT_BYTES[matrix.storage];
  const parts: MatrixPart[] = [];
  let firstRow = 0;
  for (const rows of partRows) {
    const part = bytes.slice(firstRow * rowBytes, (firstRow + rows) * rowBytes);
    const tensor = gpu.tensorFrom(new Uint32Array(part.buffer), [part.length / 4], "weights");
    parts.push({ buffer: tensor.buffer, firstRow, rows });
    firstRow += rows;
  }
  return { ...matrix, parts };
}

/** The relative error of a kernel on a case, whose numbers depend on its sizes alone. */
export async function matmulError(
  gpu: Gpu,
  kernel: MatmulKernel,
  layout: WeightLayout,
  storage: StorageType,
  test: Case,
): Promise<number> {
  const { rows, width, outWidth, columns = width, parts = [outWidth], options = {} } = test;
  const random = seeded(rows * 31 + width * 7 + outWidth);
  const W = stored(gaussians(random, outWidth * columns), outWidth, storage, layout);
  const xLength = (options.rowStart ?? 0) + rows * (options.rowStride ?? width);
  const outLength = (options.outStart ?? 0) + rows * (options.outStride ?? outWidth);
  const x = gaussians(random, xLength);
  const out = gaussians(random, outLength);
  const bias = gaussians(random, outWidth);
  const expected = matmulReference({
    ...{ x, rows, W: W.values, outWidth, columns, before: out, options },
    bias: test.bias ? bias : undefined,
  });
  const shape = { outWidth, width: columns, layout, stride: W.stride, storage };
  const matrix =
    layout === "linear"
      ? upload(gpu, W.bytes, shape, parts)
      : withOutWidth(upload(gpu, W.bytes, shape, [columns]), outWidth);
  const result = await compute(gpu, { x, bias, out }, ["out"], (recorder, tensors) => {
    matmul(recorder, tensors.x, rows, matrix, tensors.out, {
      ...options,
      kernel,
      ...(test.bias && { bias: tensors.bias }),
    });
  });
  for (const part of matrix.parts) gpu.destroyBuffer(part.buffer);
  return relativeError(result.out, expected);
}

/** One part in memory rows is one part in columns of the result. */
export function withOutWidth(matrix: Matrix, outWidth: number): Matrix {
  return { ...matrix, parts: matrix.parts.map((part) => ({ ...part, rows: outWidth })) };
}
