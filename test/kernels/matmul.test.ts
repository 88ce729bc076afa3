/** Matrix products: every kernel there is, on every layout, storage and shape, whichever of them the adapter would get. */
import { describe, expect, it } from "vitest";
import { f32ToBf16, f32ToF16, toFloat32 } from "../../src/checkpoint/index.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import type { StorageType } from "../../src/model/kernels.ts";
import { type MatmulOptions, matmul } from "../../src/model/ops.ts";
import { fits, PRODUCTS, type Product, REFERENCE_PRODUCT, type WeightLayout } from "../../src/model/products.ts";
import { ELEMENT_BYTES, type Matrix, type MatrixPart } from "../../src/model/weights.ts";
import { gpuWithLimits, testGpu } from "../support/gpu.ts";
import { gaussians, relativeError, seeded } from "../support/numbers.ts";
import { ACTIVATION_NAMES } from "./activations.reference.ts";
import { compute, describeOnGrids } from "./harness.ts";
import { matmulReference } from "./matmul.reference.ts";

const ALL_PRODUCTS = [REFERENCE_PRODUCT, ...PRODUCTS];
const STORAGES: StorageType[] = ["f32", "f16", "bf16"];
/** f32 sums of up to a thousand products; seen: 2e-7 to 2e-6. */
const TOLERANCE = 1e-5;

interface Case {
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

const shape = (rows: number, width: number, outWidth: number): Case => ({
  name: `${rows} x ${width} x ${outWidth}`,
  rows,
  width,
  outWidth,
});

/** One row, one column, multiples of the tiles and one more or less, widths of every remainder by four. */
const SHAPES: Case[] = [
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

const FEATURES: Case[] = [
  { ...shape(7, 12, 18), name: "bias", bias: true },
  { ...shape(7, 12, 18), name: "add", options: { combine: "add" } },
  { ...shape(7, 12, 18), name: "multiply", bias: true, options: { combine: "multiply", activation: "silu" } },
  { ...shape(7, 12, 18), name: "scale after bias", bias: true, options: { scale: 0.37 } },
  { ...shape(7, 12, 18), name: "add with scale and bias", bias: true, options: { scale: 3, combine: "add" } },
  { ...shape(7, 12, 18), name: "soft cap after scale", bias: true, options: { softCap: 2, scale: 1.5 } },
  { ...shape(7, 12, 18), name: "soft cap of large sums", options: { softCap: 30, scale: 1e6 } },
  { ...shape(7, 12, 18), name: "activation", bias: true, options: { activation: "gelu", scale: 2 } },
  {
    ...shape(9, 8, 20),
    name: "a part of x, of W's columns and of out",
    columns: 24,
    options: { rowStart: 12, rowStride: 40, width: 8, weightColumn: 12, outStart: 5, outStride: 37 },
  },
  {
    ...shape(9, 7, 20),
    name: "the same at odd places",
    columns: 23,
    options: { rowStart: 3, rowStride: 11, width: 7, weightColumn: 4, outStart: 1, outStride: 21, combine: "add" },
  },
  { ...shape(5, 10, 100), name: "three parts, bias", bias: true, parts: [1, 66, 33] },
  { ...shape(70, 6, 21), name: "parts of 5 rows, added", parts: [5, 5, 5, 5, 1], options: { combine: "add" } },
];

/** The epilogue is the same code in all kernels, so one shows every activation. */
const ACTIVATION_CASES: Case[] = ACTIVATION_NAMES.map((activation) => ({
  ...shape(3, 8, 70),
  name: activation,
  options: { activation },
}));

/** The bytes of W as the loader lays them out, rows padded to a multiple of four, and the values they stand for. */
function stored(W: Float32Array, outWidth: number, storage: StorageType, layout: WeightLayout) {
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
  const stride = Math.ceil(columns / 4) * 4;
  const rows = values.length / columns;
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

function upload(gpu: Gpu, bytes: Uint8Array, matrix: Omit<Matrix, "parts">, partRows: readonly number[]): Matrix {
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

async function check(
  gpu: Gpu,
  product: Product,
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
      product,
      ...(test.bias && { bias: tensors.bias }),
    });
  });
  for (const part of matrix.parts) gpu.destroyBuffer(part.buffer);
  return relativeError(result.out, expected);
}

/** One part in memory rows is one part in columns of the result. */
function withOutWidth(matrix: Matrix, outWidth: number): Matrix {
  return { ...matrix, parts: matrix.parts.map((part) => ({ ...part, rows: outWidth })) };
}

/** Those that are taken without being timed get every storage type and feature; the rest of a family differs in its tile. */
const isDefault = ({ expectedOn, name }: Product) => expectedOn !== "nowhere" || name === REFERENCE_PRODUCT.name;

function describeProduct(gpu: () => Promise<Gpu>, product: Product): void {
  for (const layout of product.layouts) {
    const suits = ({ rows, parts }: Case) =>
      rows >= product.rows.least && rows <= product.rows.most && (layout === "linear" || !parts);
    it.each(SHAPES.filter(suits))(`${product.name}, ${layout}: $name`, async (test) => {
      if (!fits(await gpu(), product, test.rows, layout)) return; // a feature that this device has not
      for (const storage of isDefault(product) ? STORAGES : (["f32", "bf16"] as const)) {
        expect(await check(await gpu(), product, layout, storage, test)).toBeLessThan(TOLERANCE);
      }
    });
    if (!isDefault(product)) continue;
    const features = FEATURES.map((test) => ({ ...test, rows: Math.min(test.rows, product.rows.most) }));
    it.each(features.filter(suits))(`${product.name}, ${layout}: $name`, async (test) => {
      expect(await check(await gpu(), product, layout, "f32", test)).toBeLessThan(TOLERANCE);
    });
  }
}

describe("matmul", () => {
  for (const product of ALL_PRODUCTS) describeProduct(testGpu, product);
  it.each(ACTIVATION_CASES)("activation $name", async (test) => {
    expect(await check(await testGpu(), REFERENCE_PRODUCT, "linear", "bf16", test)).toBeLessThan(TOLERANCE);
  });
});

describe("matmul, grid folded", () => {
  const folding = gpuWithLimits({ maxComputeWorkgroupsPerDimension: 7 });
  for (const product of ALL_PRODUCTS) if (/lanes|shared/.test(product.name)) describeProduct(() => folding, product);
});

describeOnGrids("matmul, by itself choosing the kernel", (gpu) => {
  it.each([shape(1, 40, 3000), shape(4, 40, 300), shape(5, 40, 300)])("$name", async ({ rows, width, outWidth }) => {
    const random = seeded(1);
    const x = gaussians(random, rows * width);
    const values = gaussians(random, outWidth * width);
    const out = new Float32Array(rows * outWidth);
    const W = upload(
      await gpu(),
      new Uint8Array(values.buffer),
      { outWidth, width, layout: "linear", stride: width, storage: "f32" },
      [outWidth],
    );
    const result = await compute(await gpu(), { x, out }, ["out"], (recorder, tensors) =>
      matmul(recorder, tensors.x, rows, W, tensors.out),
    );
    for (const part of W.parts) (await gpu()).destroyBuffer(part.buffer);
    const expected = matmulReference({
      ...{ x, rows, W: values, outWidth, columns: width, before: out, options: {} },
      bias: undefined,
    });
    expect(relativeError(result.out, expected)).toBeLessThan(TOLERANCE);
  });
});
