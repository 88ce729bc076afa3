/**
 * Matrix products: a small family of kernels that compute the same thing, and a table of them.
 *
 * Which is fastest depends on the adapter, so none is chosen by taste: `tuning/` times those that fit and keeps the
 * winner, and without a tuned entry the first of the table that suits the kind of adapter is taken.
 *
 *   broadcast  blocks in registers, rows by subgroupBroadcast  CPUs that offer subgroups
 *   block      blocks in registers, rows packed                CPUs: no workgroup memory, no barrier
 *   lanes      one row, columns in registers                   CPUs
 *   tiled      tiles of both operands in workgroup memory      GPUs, many rows
 *   shared     one to four rows, weights read coalesced        GPUs, decoding
 *   subgroup   the same with subgroupAdd                       GPUs, decoding
 */
import activation from "../../shaders/activation.wgsl";
import broadcastConv1d from "../../shaders/broadcast_conv1d.wgsl";
import broadcastLinear from "../../shaders/broadcast_linear.wgsl";
import matmulBlock from "../../shaders/matmul_block.wgsl";
import matmulBroadcast from "../../shaders/matmul_broadcast.wgsl";
import matmulReference from "../../shaders/matmul_reference.wgsl";
import matmulShared from "../../shaders/matmul_shared.wgsl";
import matmulTiled from "../../shaders/matmul_tiled.wgsl";
import matvecLanesConv1d from "../../shaders/matvec_lanes_conv1d.wgsl";
import matvecLanesLinear from "../../shaders/matvec_lanes_linear.wgsl";
import matvecSharedConv1d from "../../shaders/matvec_shared_conv1d.wgsl";
import matvecSharedLinear from "../../shaders/matvec_shared_linear.wgsl";
import matvecSubgroupLinear from "../../shaders/matvec_subgroup_linear.wgsl";
import putCache from "../../shaders/put_cache.wgsl";
import putOut from "../../shaders/put_out.wgsl";
import rowsAligned from "../../shaders/rows_aligned.wgsl";
import rowsAny from "../../shaders/rows_any.wgsl";
import rowsPairs from "../../shaders/rows_pairs.wgsl";
import rowsVector from "../../shaders/rows_vector.wgsl";
import storeBlock from "../../shaders/store_block.wgsl";
import weightsConv1d from "../../shaders/weights_conv1d.wgsl";
import weightsLinear from "../../shaders/weights_linear.wgsl";
import type { Gpu } from "../gpu/gpu.ts";
import type { AdapterInfo } from "../gpu/host.ts";
import { defineKernel, type Kernel } from "../gpu/kernel.ts";
import { foldGrid } from "../gpu/recorder.ts";
import type { Tile } from "../gpu/unroll.ts";
import { STORAGE_SOURCE, type StorageType } from "./definitions.ts";

/** How a matrix lies in memory: [out, in], as torch.nn.Linear has it, or [in, out], as GPT-2's Conv1D has it. */
export type WeightLayout = "linear" | "conv1d";

/** Where a product goes: to one buffer, or queries there and keys and values to the cache. */
export type ProductTarget = "out" | "cache";

export type Grid = [number, number, number];

/** One way to compute a product. */
export interface Product {
  readonly name: string;
  readonly layouts: readonly WeightLayout[];
  /** Rows it computes: none outside. */
  readonly rows: { readonly least: number; readonly most: number };
  /** Whether it wants its rows packed (`pack_rows.wgsl`). */
  readonly packed: boolean;
  /** Where it is expected to win, and is taken without being timed; `expectedTo`: on as many rows at most. */
  readonly expectedOn: "software" | "swiftshader" | "hardware" | "nowhere";
  readonly expectedTo?: number;
  readonly feature?: GPUFeatureName;
  /** Invocations that a subgroup must have. */
  readonly subgroupSize?: number;
  /** Adapters that must not be given it. */
  excludes?(adapter: AdapterInfo): boolean;
  readonly invocations: number;
  kernel(storage: StorageType, layout: WeightLayout, aligned: boolean, target?: ProductTarget): Kernel<MatmulParam>;
  grid(gpu: Gpu, rows: number, columns: number): Grid;
}

const MATMUL_PARAMS = {
  rowCount: "u32",
  outWidth: "u32",
  width: "u32",
  rowStart: "u32",
  rowStride: "u32",
  weightStart: "u32",
  weightStride: "u32",
  outStart: "u32",
  outStride: "u32",
  biasStart: "u32",
  scale: "f32",
  softCap: "f32",
  queryWidth: "u32",
  kvWidth: "u32",
} as const;

const TARGETS = {
  out: { source: putOut, bindings: [] },
  cache: { source: putCache, bindings: ["read", "write", "write"] },
} as const;

export type MatmulParam = keyof typeof MATMUL_PARAMS;

const LAYOUT_SOURCE = { linear: weightsLinear, conv1d: weightsConv1d };

/** How a kernel reads its rows: by itself, element by element, or two or four at a time from any width. */
type RowAccess = "own" | "vector" | "two" | "four";

const ALIGNED_ROWS = { own: "", vector: rowsVector, two: rowsPairs, four: rowsAligned };

interface ProductText {
  name: string;
  /** The kernel's files for each layout it has some for. */
  files: Partial<Record<WeightLayout, string | readonly string[]>>;
  access: RowAccess;
  tile?: Tile;
  sizes?: Tile;
}

/** Kernels by storage, layout, alignment and target, made when first asked for. */
function kernelsOf({ name, files, access, tile = {}, sizes = {} }: ProductText): Product["kernel"] {
  const made = new Map<string, Kernel<MatmulParam>>();
  return (storage, layout, aligned, target = "out") => {
    const isAny = !aligned && (access === "two" || access === "four");
    const full = `matmul ${name} ${layout} ${storage} ${isAny ? "any" : access}${target === "out" ? "" : ` to ${target}`}`;
    let kernel = made.get(full);
    if (!kernel) {
      kernel = defineKernel({
        name: full,
        sources: [
          STORAGE_SOURCE[storage],
          isAny ? rowsAny : ALIGNED_ROWS[access],
          activation,
          matmulShared,
          TARGETS[target].source,
          LAYOUT_SOURCE[layout],
          ...[files[layout] ?? []].flat(),
        ],
        bindings: ["read", "read", "read", "write", ...TARGETS[target].bindings],
        params: MATMUL_PARAMS,
        tile,
        sizes,
      });
      made.set(full, kernel);
    }
    return kernel;
  };
}

/** What kernels are put together from beside files of their own, other than in f32 at aligned places. */
export const OTHER_SOURCES: readonly string[] = [...Object.values(STORAGE_SOURCE), rowsAny, putCache];

const MANY = Number.POSITIVE_INFINITY;
const BOTH: readonly WeightLayout[] = ["linear", "conv1d"];

function broadcast(
  layout: WeightLayout,
  rows: number,
  columns: number,
  lanes: number,
  expectedOn: Product["expectedOn"],
): Product {
  const name = `broadcast ${rows}x${columns}x${lanes}`;
  const STEP = layout === "linear" ? 4 : 2;
  const tile = {
    ROWS: rows,
    COLUMNS4: columns / 4,
    PARTS: Math.ceil(rows / lanes),
    SHARE: Math.min(rows, lanes),
    STEP,
  };
  return {
    name,
    layouts: [layout],
    rows: leastAndMost(rows),
    packed: false,
    expectedOn,
    feature: "subgroups",
    subgroupSize: lanes,
    invocations: lanes,
    kernel: kernelsOf({
      name,
      files: {
        linear: [broadcastLinear, storeBlock, matmulBroadcast],
        conv1d: [broadcastConv1d, storeBlock, matmulBroadcast],
      },
      access: layout === "linear" ? "four" : "two",
      tile,
      sizes: { LANES: lanes },
    }),
    grid: blockGrid(rows, columns * lanes),
  };
}

/** Workgroups that each compute a block of the result. */
function blockGrid(rows: number, columns: number): Product["grid"] {
  return (_, rowCount, outWidth) => [Math.ceil(outWidth / columns), Math.ceil(rowCount / rows), 1];
}

/** A block that is mostly empty never wins, so it is not timed either; low ones are for few rows alone. */
function leastAndMost(rows: number): Product["rows"] {
  return { least: Math.max(2, (rows > 4 ? rows / 2 : 0) + 1), most: rows <= 8 ? rows : MANY };
}

/** SwiftShader compiles what naga makes of 16 columns an invocation for minutes (in 1 to 2 s what Tint makes of it). */
const neverCompiles = ({ host, kind }: AdapterInfo) => host === "deno" && kind === "swiftshader";

function block(rows: number, columns: number, lanes: number, expectedOn: Product["expectedOn"] = "nowhere"): Product {
  const name = `block ${rows}x${columns}x${lanes}`;
  const own = [storeBlock, matmulBlock];
  const files = { linear: own, conv1d: own };
  const tile = { ROWS: rows, ROWS4: rows / 4, COLUMNS4: columns / 4 };
  return {
    name,
    layouts: BOTH,
    rows: leastAndMost(rows),
    packed: true,
    expectedOn,
    ...(columns >= 16 && { excludes: neverCompiles }),
    invocations: lanes,
    kernel: kernelsOf({ name, files, access: "own", tile, sizes: { LANES: lanes } }),
    grid: blockGrid(rows, columns * lanes),
  };
}

/** `step`: k at a time, of [in, out]. */
function lanes(
  layout: WeightLayout,
  columns: number,
  count: number,
  expectedOn: Product["expectedOn"],
  step = 1,
): Product {
  const name = `lanes ${columns}x${count}${step > 1 ? `, ${step} a step` : ""}`;
  const conv1d = layout === "conv1d";
  const tile: Tile = conv1d ? { COLUMNS4: columns / 4, STEP: step } : { COLUMNS: columns };
  const files = conv1d ? { conv1d: matvecLanesConv1d } : { linear: matvecLanesLinear };
  return {
    name,
    layouts: [layout],
    rows: { least: 1, most: 1 },
    packed: false,
    expectedOn,
    invocations: count,
    kernel: kernelsOf({ name, files, access: conv1d ? "vector" : "four", tile, sizes: { LANES: count } }),
    grid: (gpu, _, outWidth) => [...foldGrid(gpu, Math.ceil(outWidth / (columns * count))), 1],
  };
}

function tiled(side: number, expectedOn: Product["expectedOn"], expectedTo = MANY): Product {
  const name = `tiled ${side}x${side}`;
  const lanes = side / 4;
  return {
    name,
    layouts: BOTH,
    rows: { least: 2, most: MANY },
    packed: false,
    expectedOn,
    expectedTo,
    invocations: lanes * lanes,
    kernel: kernelsOf({
      name,
      files: { linear: matmulTiled, conv1d: matmulTiled },
      access: "four",
      sizes: { LANES: lanes },
    }),
    grid: blockGrid(side, side),
  };
}

function sharedLinear(columns: number, count: number, expectedOn: Product["expectedOn"]): Product {
  const name = `shared ${columns}x${count}`;
  return {
    name,
    layouts: ["linear"],
    rows: { least: 1, most: 4 },
    packed: false,
    expectedOn,
    invocations: columns * count,
    kernel: kernelsOf({
      name,
      files: { linear: matvecSharedLinear },
      access: "four",
      sizes: { COLUMNS: columns, LANES: count },
    }),
    grid: (gpu, rowCount, outWidth) => [...foldGrid(gpu, Math.ceil(outWidth / columns)), Math.ceil(rowCount / 4)],
  };
}

function sharedConv1d(count: number, slices: number, expectedOn: Product["expectedOn"]): Product {
  const name = `shared ${count}x${slices}`;
  return {
    name,
    layouts: ["conv1d"],
    rows: { least: 1, most: 4 },
    packed: false,
    expectedOn,
    invocations: count * slices,
    kernel: kernelsOf({
      name,
      files: { conv1d: matvecSharedConv1d },
      access: "vector",
      sizes: { LANES: count, SLICES: slices },
    }),
    grid: (_, rowCount, outWidth) => [Math.ceil(outWidth / (4 * count)), rowCount, 1],
  };
}

function subgroup(threads: number, columns: number): Product {
  const name = `subgroup ${columns}x${threads}`;
  return {
    name,
    layouts: ["linear"],
    rows: { least: 1, most: 1 },
    packed: false,
    expectedOn: "nowhere",
    feature: "subgroups",
    invocations: threads,
    kernel: kernelsOf({
      name,
      files: { linear: matvecSubgroupLinear },
      access: "four",
      sizes: { THREADS: threads, COLUMNS: columns },
    }),
    grid: (gpu, _, outWidth) => [...foldGrid(gpu, Math.ceil(outWidth / columns)), 1],
  };
}

/** Every product there is. Of those that fit, the first that is expected on the kind of adapter is the default. */
export const PRODUCTS: readonly Product[] = [
  lanes("conv1d", 16, 8, "swiftshader", 2),
  lanes("conv1d", 16, 8, "software"),
  lanes("linear", 8, 8, "software"),
  broadcast("conv1d", 4, 8, 8, "software"),
  broadcast("conv1d", 8, 8, 8, "software"),
  broadcast("conv1d", 32, 8, 8, "software"),
  broadcast("conv1d", 16, 8, 8, "software"),
  broadcast("linear", 4, 8, 8, "software"),
  broadcast("linear", 8, 8, 8, "software"),
  broadcast("linear", 32, 4, 8, "software"),
  broadcast("linear", 16, 4, 8, "software"),
  broadcast("conv1d", 4, 8, 4, "software"),
  broadcast("conv1d", 8, 8, 4, "software"),
  broadcast("conv1d", 16, 4, 4, "software"),
  broadcast("linear", 4, 8, 4, "software"),
  broadcast("linear", 8, 8, 4, "software"),
  broadcast("linear", 16, 8, 4, "software"),
  block(4, 8, 8, "software"),
  block(8, 8, 8, "software"),
  block(16, 8, 8, "software"),
  sharedLinear(4, 16, "hardware"),
  sharedConv1d(16, 16, "hardware"),
  tiled(32, "hardware", 32),
  tiled(64, "hardware"),
  lanes("conv1d", 8, 8, "nowhere"),
  lanes("conv1d", 4, 32, "nowhere"),
  lanes("linear", 2, 8, "nowhere"),
  lanes("linear", 4, 8, "nowhere"),
  lanes("linear", 1, 32, "nowhere"),
  block(8, 16, 8),
  block(8, 4, 8),
  block(16, 16, 8),
  block(16, 8, 16),
  sharedLinear(4, 64, "nowhere"),
  sharedConv1d(32, 8, "nowhere"),
  subgroup(32, 4),
  subgroup(256, 4),
];

/** The definition, written down: what the others are checked against. Any layout, any number of rows, slow. */
export const REFERENCE_PRODUCT: Product = {
  name: "reference",
  layouts: BOTH,
  rows: { least: 1, most: MANY },
  packed: false,
  expectedOn: "nowhere",
  invocations: 64,
  kernel: kernelsOf({
    name: "reference",
    files: { linear: matmulReference, conv1d: matmulReference },
    access: "vector",
  }),
  grid: (_, rowCount, outWidth) => [Math.ceil(outWidth / 64), rowCount, 1],
};

/** Whether the device can run a product on that many rows of that layout. */
export function fits(gpu: Gpu, product: Product, rows: number, layout: WeightLayout): boolean {
  return (
    product.layouts.includes(layout) &&
    rows >= product.rows.least &&
    rows <= product.rows.most &&
    product.invocations <= gpu.limits.maxComputeInvocationsPerWorkgroup &&
    (product.feature === undefined || gpu.host.features.has(product.feature)) &&
    (product.subgroupSize === undefined || product.subgroupSize === gpu.host.adapterInfo.subgroupMinSize) &&
    !product.excludes?.(gpu.host.adapterInfo)
  );
}

/** What is taken where nothing was timed. */
export function defaultProduct(gpu: Gpu, rows: number, layout: WeightLayout): Product {
  const { kind, isSoftware } = gpu.host.adapterInfo;
  const kinds: string[] = [kind, isSoftware ? "software" : "hardware"];
  const isExpected = ({ expectedOn, expectedTo = MANY }: Product) => kinds.includes(expectedOn) && rows <= expectedTo;
  return PRODUCTS.find((each) => isExpected(each) && fits(gpu, each, rows, layout)) ?? REFERENCE_PRODUCT;
}
