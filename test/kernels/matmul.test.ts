/** Matmul: every kernel there is, on every layout, storage and shape, whichever of them the adapter would get. */
import { describe, expect, it } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { matmul } from "../../src/kernels/calls.ts";
import { MATMUL_FAMILY } from "../../src/kernels/matmul.ts";
import type { MatmulKernel } from "../../src/kernels/matmul-kernels.ts";
import type { WeightLayout } from "../../src/kernels/matrix.ts";
import { isBlockStorage, isWalked, STORAGE_TYPES, type StorageType } from "../../src/kernels/storage.ts";
import { ACTIVATION_NAMES } from "../../src/ops/activations.ts";
import { gpuWithLimits, testGpu } from "../support/gpu.ts";
import { isNight } from "../support/nightly.ts";
import { gaussians, relativeError, seeded } from "../support/numbers.ts";
import { compute } from "./compute.ts";
import { describeOnGrids } from "./harness.ts";
import {
  ALL_MATMULS,
  type Case,
  isForTheNight,
  matmulError,
  SHAPES,
  shape,
  stored,
  suits,
  TOLERANCE,
  upload,
  withOutWidth,
} from "./matmul.cases.ts";
import { matmulReference } from "./matmul.reference.ts";

const STORAGES: StorageType[] = ["f32", "f16", "bf16"];

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

/** What between them has a bias, an activation, both ways to combine, everything at odd places, and parts. */
const FEW_FEATURES = ["multiply", "the same at odd places", "three parts, bias"];

/** The epilogue is the same code in all kernels, so one shows every activation. */
const ACTIVATION_CASES: Case[] = ACTIVATION_NAMES.map((activation) => ({
  ...shape(3, 8, 70),
  name: activation,
  options: { activation },
}));

/**
 * Those that are taken without being timed get every storage type and feature; the rest of a family differs in its tile. A
 * feature is a piece of WGSL that all kernels share, and compiling a tiled kernel takes up to a second: by day they get few.
 */
const isWhole = (kernel: MatmulKernel) =>
  kernel === MATMUL_FAMILY.reference ||
  (kernel.expectedOn.length > 0 && (isNight || !/^tiled|^shared 16/.test(kernel.name)));

/**
 * How weights are stored and how rows are read are pieces of WGSL of their own. So by day all but the reference read f16 and bf16
 * beside rows that lie in fours (bf16 alone if they differ from another kernel in their tile), and f32 beside others; features
 * show f32 with both.
 */
function storagesOf(kernel: MatmulKernel, { width }: Case): readonly StorageType[] {
  if (kernel === MATMUL_FAMILY.reference || (isNight && isWhole(kernel))) return STORAGES;
  if (isNight) return ["f32", "bf16"];
  if (width % 4 !== 0) return ["f32"];
  return isWhole(kernel) ? ["f16", "bf16"] : ["bf16"];
}

/** What this adapter cannot run is not in the tables; the cross-host tests run it where it can. */
const { host } = await testGpu();
const fits = (kernel: MatmulKernel, rows: number, layout: WeightLayout) =>
  kernel.fits(host, { rows, layout, storage: kernel.inBlocks ? "q8_0" : "f32" });

function describeKernel(gpu: () => Promise<Gpu>, kernel: MatmulKernel): void {
  for (const layout of kernel.layouts) {
    const suited = (test: Case) => suits(kernel, layout, test) && fits(kernel, test.rows, layout);
    it.each(SHAPES.filter(suited))(`${kernel.name}, ${layout}: $name`, async (test) => {
      for (const storage of storagesOf(kernel, test)) {
        expect(await matmulError(await gpu(), kernel, layout, storage, test)).toBeLessThan(TOLERANCE);
      }
    });
    const shown = FEATURES.filter(({ name }) => isWhole(kernel) || FEW_FEATURES.includes(name));
    const features = shown.map((test) => ({ ...test, rows: Math.min(test.rows, kernel.rows.most) }));
    it.each(features.filter(suited))(`${kernel.name}, ${layout}: $name`, async (test) => {
      expect(await matmulError(await gpu(), kernel, layout, "f32", test)).toBeLessThan(TOLERANCE);
    });
  }
}

/** What differs between the storages is how four weights, or one, are read: by day one kernel that reads each way. */
const KINDS = ALL_MATMULS.filter(({ name }) => /^(reference|lanes 8x8|blocks .*)$/.test(name));
const BLOCKS = STORAGE_TYPES.filter(isBlockStorage);
const IN_BLOCKS: Case[] = [shape(1, 520, 13), shape(3, 70, 9)];

describe("matmul of weights in blocks", () => {
  it.each(BLOCKS)("%s", async (storage) => {
    const kernels = (isNight ? ALL_MATMULS : KINDS).filter(({ inBlocks }) => !inBlocks || isWalked(storage));
    for (const kernel of kernels) {
      for (const layout of kernel.layouts) {
        for (const test of IN_BLOCKS.filter((each) => suits(kernel, layout, each) && fits(kernel, each.rows, layout)))
          expect(await matmulError(await testGpu(), kernel, layout, storage, test)).toBeLessThan(TOLERANCE);
      }
    }
  });
});

describe("matmul", () => {
  const kernels = ALL_MATMULS.filter((kernel) => !kernel.inBlocks && (isNight || !isForTheNight(kernel)));
  for (const kernel of kernels) describeKernel(testGpu, kernel);
  it.each(ACTIVATION_CASES)("activation $name", async (test) => {
    expect(await matmulError(await testGpu(), MATMUL_FAMILY.reference, "linear", "bf16", test)).toBeLessThan(TOLERANCE);
  });
});

/** The kernel's queries, and the slots of keys and values after it: what each holds is its column of the reference. */
async function cacheError(kernel: MatmulKernel, layout: WeightLayout): Promise<number> {
  const gpu = await testGpu();
  const [rows, width, queryWidth, kvWidth, slots] = [Math.min(7, kernel.rows.most), 12, 20, 9, 11];
  const outWidth = queryWidth + 2 * kvWidth;
  const random = seeded(rows);
  const storage = kernel.inBlocks ? "q8_0" : "f32";
  const W = stored(gaussians(random, outWidth * width), outWidth, storage, layout);
  const shape = { outWidth, width, layout, stride: W.stride, storage } as const;
  const matrix =
    layout === "linear"
      ? upload(gpu, W.bytes, shape, [18, 13, 7])
      : withOutWidth(upload(gpu, W.bytes, shape, [width]), outWidth);
  const slotOf = (row: number) => slots - 1 - row;
  const arrays = {
    x: gaussians(random, rows * width),
    bias: gaussians(random, outWidth),
    out: gaussians(random, rows * outWidth),
    rowTable: Uint32Array.from(Array.from({ length: rows }, (_, row) => [0, 0, slotOf(row), 0]).flat()),
    keys: gaussians(random, slots * kvWidth),
    values: gaussians(random, slots * kvWidth),
  };
  const result = await compute(gpu, arrays, ["out", "keys", "values"], (recorder, t) => {
    const cache = { rowTable: t.rowTable, keys: t.keys, values: t.values, kvWidth };
    matmul(recorder, t.x, rows, matrix, t.out, { kernel, bias: t.bias, cache });
  });
  for (const part of matrix.parts) gpu.destroyBuffer(part.buffer);
  const before = new Float32Array(rows * outWidth);
  const { x, bias } = arrays;
  const product64 = matmulReference({ x, rows, W: W.values, outWidth, columns: width, before, bias, options: {} });
  const expected = { out: arrays.out.slice(), keys: arrays.keys.slice(), values: arrays.values.slice() };
  for (let row = 0; row < rows; row++) {
    const line = product64.subarray(row * outWidth, (row + 1) * outWidth);
    expected.out.set(line.subarray(0, queryWidth), row * outWidth);
    expected.keys.set(line.subarray(queryWidth, queryWidth + kvWidth), slotOf(row) * kvWidth);
    expected.values.set(line.subarray(queryWidth + kvWidth), slotOf(row) * kvWidth);
  }
  return Math.max(...(["out", "keys", "values"] as const).map((name) => relativeError(result[name], expected[name])));
}

describe("matmul of queries, keys and values into the cache", () => {
  const cases = ALL_MATMULS.flatMap((kernel) => kernel.layouts.map((layout) => ({ kernel, layout }))).filter(
    ({ kernel, layout }) => fits(kernel, Math.min(7, kernel.rows.most), layout),
  );
  it.each(cases)("$kernel.name, $layout", async ({ kernel, layout }) => {
    expect(await cacheError(kernel, layout)).toBeLessThan(TOLERANCE);
  });
});

describe("matmul, grid folded", () => {
  const folding = gpuWithLimits({ maxComputeWorkgroupsPerDimension: 7 });
  for (const kernel of ALL_MATMULS) if (/lanes|shared/.test(kernel.name)) describeKernel(() => folding, kernel);
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
