/**
 * The matmul kernels, each made from its files in `shaders/`, its tile and where it is meant to run. `matmul.ts` has the
 * table of them, and chooses.
 */
import activation from "../../shaders/activation.wgsl";
import broadcastConv1d from "../../shaders/broadcast_conv1d.wgsl";
import broadcastLinear from "../../shaders/broadcast_linear.wgsl";
import matmulBlock from "../../shaders/matmul_block.wgsl";
import matmulBroadcast from "../../shaders/matmul_broadcast.wgsl";
import matmulReference from "../../shaders/matmul_reference.wgsl";
import matmulShared from "../../shaders/matmul_shared.wgsl";
import matmulTiled from "../../shaders/matmul_tiled.wgsl";
import matvecBlocksConv1d from "../../shaders/matvec_blocks_conv1d.wgsl";
import matvecBlocksLinear from "../../shaders/matvec_blocks_linear.wgsl";
import matvecLanesConv1d from "../../shaders/matvec_lanes_conv1d.wgsl";
import matvecLanesLinear from "../../shaders/matvec_lanes_linear.wgsl";
import matvecSharedConv1d from "../../shaders/matvec_shared_conv1d.wgsl";
import matvecSharedLinear from "../../shaders/matvec_shared_linear.wgsl";
import putCache from "../../shaders/put_cache.wgsl";
import putOut from "../../shaders/put_out.wgsl";
import rowsAligned from "../../shaders/rows_aligned.wgsl";
import rowsAny from "../../shaders/rows_any.wgsl";
import rowsPairs from "../../shaders/rows_pairs.wgsl";
import rowsTurned from "../../shaders/rows_turned.wgsl";
import rowsVector from "../../shaders/rows_vector.wgsl";
import storeBlock from "../../shaders/store_block.wgsl";
import weightsConv1d from "../../shaders/weights_conv1d.wgsl";
import weightsLinear from "../../shaders/weights_linear.wgsl";
import type { Gpu } from "../gpu/gpu.ts";
import { type Access, defineKernel, f32, type Kernel, u32 } from "../gpu/kernel.ts";
import { type Dispatch, foldGrid } from "../gpu/recorder.ts";
import type { Tile } from "../gpu/unroll.ts";
import type { Candidate, DeviceFacts, ExpectedOn } from "./family.ts";
import type { Grid } from "./launch.ts";
import type { WeightLayout } from "./matrix.ts";
import { isWalked, STORAGE_SOURCE, STORAGE_TYPES, type StorageType } from "./storage.ts";

/** What a kernel is chosen for. The widths of rows and result hardly decide between kernels. */
export interface MatmulShape {
  readonly rows: number;
  readonly layout: WeightLayout;
  readonly storage: StorageType;
}

/** Rows at places and of widths that are multiples of four, any others, or those that lie as columns. */
export type RowsAt = "aligned" | "any" | "turned";

type KernelLookup<Binding extends string> = (
  storage: StorageType,
  layout: WeightLayout,
  at: RowsAt,
) => Kernel<MatmulParam, Binding>;

/** A dispatch of a matmul with one result. */
export type MatmulCall = Required<Dispatch<MatmulParam, keyof typeof OUT.bindings>>;

/** One way to compute a matmul. */
export interface MatmulKernel extends Candidate<MatmulShape> {
  readonly layouts: readonly WeightLayout[];
  /** Rows it computes: none outside. */
  readonly rows: { readonly least: number; readonly most: number };
  /** Whether it wants its rows packed (`pack_rows.wgsl`). */
  readonly packed: boolean;
  /** Whether it can read rows that lie as columns. */
  readonly readsTurned: boolean;
  /** Whether it reads weights in blocks alone, which begin at whole blocks. */
  readonly inBlocks: boolean;
  readonly kernel: KernelLookup<keyof typeof OUT.bindings>;
  /** The same whose result is queries, keys and values: queries go to `out`, keys and values to the cache. */
  readonly cacheKernel: KernelLookup<keyof typeof CACHE.bindings>;
  grid(gpu: Gpu, rows: number, columns: number): Grid;
}

const MATMUL_PARAMS = {
  ...u32("rowCount", "outWidth", "width", "rowStart", "rowStride", "weightStart", "weightStride"),
  ...u32("outStart", "outStride", "biasStart"),
  ...f32("scale", "softCap"),
  ...u32("queryWidth", "kvWidth"),
};

export type MatmulParam = keyof typeof MATMUL_PARAMS;

/** Where a result goes: what puts it there, and the bindings of a kernel that does. */
interface Target<Binding extends string> {
  readonly name: string;
  readonly source: string;
  readonly bindings: Readonly<Record<Binding, Access>>;
}

const OUT = {
  name: "",
  source: putOut,
  bindings: { rows: "read", weights: "read", bias: "read", out: "write" },
} as const;

const CACHE = {
  name: " to cache",
  source: putCache,
  bindings: { ...OUT.bindings, rowTable: "read", keys: "write", values: "write" },
} as const;

const LAYOUT_SOURCE = { linear: weightsLinear, conv1d: weightsConv1d };

/** How a kernel reads its rows: by itself, element by element, or two or four at a time from any width. */
type RowAccess = "own" | "vector" | "two" | "four";

const ALIGNED_ROWS = { own: "", vector: rowsVector, two: rowsPairs, four: rowsAligned };

const ROWS_AT: readonly RowsAt[] = ["aligned", "any", "turned"];

const ROW_SOURCE: Partial<Record<RowsAt, string>> = { any: rowsAny, turned: rowsTurned };

/** Whether a kernel reads its rows by functions that there are for every way they may lie. */
const readsAny = ({ access }: Pick<MatmulText, "access">) => access === "two" || access === "four";

/** What kernels are put together from beside files of their own, other than in f32 at aligned places. */
export const OTHER_SOURCES: readonly string[] = [...Object.values(STORAGE_SOURCE), rowsAny, rowsTurned, putCache];

export const MANY = Number.POSITIVE_INFINITY;

/** A kernel as it is written down here. */
interface MatmulText extends Pick<MatmulKernel, "name" | "rows" | "expectedOn" | "expectedFor" | "grid"> {
  /** The kernel's files for each layout it has some for. */
  files: Partial<Record<WeightLayout, readonly string[]>>;
  access: RowAccess;
  packed?: boolean;
  tile?: Tile;
  sizes?: Tile;
  /** Invocations of a workgroup. */
  invocations: number;
  /** Invocations that a subgroup must have, of which a workgroup is one; absent where none is needed. */
  subgroupSize?: number;
  /** Whether it walks weights in blocks, of the storages that can be walked, and reads no others. */
  inBlocks?: boolean;
  /** Adapters that must not be given it. */
  excludes?(adapter: DeviceFacts["adapterInfo"]): boolean;
}

function matmulKernel(text: MatmulText): MatmulKernel {
  const { name, files, rows, packed = false, expectedOn, expectedFor, grid } = text;
  const { invocations, subgroupSize, excludes, inBlocks = false } = text;
  const layouts = Object.keys(files) as WeightLayout[];
  return {
    ...{ name, layouts, rows, packed, expectedOn, grid, readsTurned: readsAny(text), inBlocks },
    ...{ kernel: kernelsOf(text, OUT), cacheKernel: kernelsOf(text, CACHE) },
    ...(expectedFor && { expectedFor }),
    fits: ({ limits, features, adapterInfo }, shape) =>
      layouts.includes(shape.layout) &&
      (!inBlocks || isWalked(shape.storage)) &&
      shape.rows >= rows.least &&
      shape.rows <= rows.most &&
      invocations <= limits.maxComputeInvocationsPerWorkgroup &&
      (subgroupSize === undefined || (features.has("subgroups") && adapterInfo.subgroupMinSize === subgroupSize)) &&
      !excludes?.(adapterInfo),
  };
}

/** WGSL by storage, layout and alignment, made when first asked for. */
function kernelsOf<Binding extends string>(
  { name, files, access, tile = {}, sizes = {} }: MatmulText,
  { name: suffix, source, bindings }: Target<Binding>,
): KernelLookup<Binding> {
  // Looked up for every dispatch, so by a number rather than by name: a name costs a fifth of a recording.
  const made: Kernel<MatmulParam, Binding>[] = [];
  return (storage, layout, rows) => {
    const at = readsAny({ access }) ? rows : "aligned";
    const index = 6 * STORAGE_TYPES.indexOf(storage) + (layout === "linear" ? 3 : 0) + ROWS_AT.indexOf(at);
    let kernel = made[index];
    if (!kernel) {
      kernel = defineKernel({
        name: `matmul ${name} ${layout} ${storage} ${at === "aligned" ? access : at}${suffix}`,
        sources: [
          STORAGE_SOURCE[storage],
          ROW_SOURCE[at] ?? ALIGNED_ROWS[access],
          activation,
          matmulShared,
          source,
          LAYOUT_SOURCE[layout],
          ...(files[layout] ?? []),
        ],
        ...{ bindings, params: MATMUL_PARAMS },
        tile,
        sizes,
      });
      made[index] = kernel;
    }
    return kernel;
  };
}

/** Workgroups that each compute a block of the result. */
function blockGrid(rows: number, columns: number): MatmulKernel["grid"] {
  return (_, rowCount, outWidth) => [Math.ceil(outWidth / columns), Math.ceil(rowCount / rows), 1];
}

/** Workgroups that each compute `columns` of every row. */
function columnGrid(columns: number): MatmulKernel["grid"] {
  return (gpu, _, outWidth) => [...foldGrid(gpu, Math.ceil(outWidth / columns)), 1];
}

/** A block that is mostly empty never wins, so it is not timed either; low ones are for few rows alone. */
function leastAndMost(rows: number): MatmulKernel["rows"] {
  return { least: Math.max(2, (rows > 4 ? rows / 2 : 0) + 1), most: rows <= 8 ? rows : MANY };
}

/** A block of `rows` x `columns` in each of `lanes` invocations, which are a subgroup and broadcast the rows. */
export function broadcast(layout: WeightLayout, rows: number, columns: number, lanes: number): MatmulKernel {
  const parts = { PARTS: Math.ceil(rows / lanes), SHARE: Math.min(rows, lanes) };
  const own = { linear: broadcastLinear, conv1d: broadcastConv1d }[layout];
  return matmulKernel({
    name: `broadcast ${rows}x${columns}x${lanes}`,
    files: { [layout]: [own, storeBlock, matmulBroadcast] },
    access: layout === "linear" ? "four" : "two",
    tile: { ROWS: rows, COLUMNS4: columns / 4, ...parts, STEP: layout === "linear" ? 4 : 2 },
    sizes: { LANES: lanes },
    rows: leastAndMost(rows),
    expectedOn: ["software"],
    invocations: lanes,
    subgroupSize: lanes,
    grid: blockGrid(rows, columns * lanes),
  });
}

/** SwiftShader compiles what naga makes of 16 columns an invocation for minutes (in 1 to 2 s what Tint makes of it). */
const neverCompiles: MatmulText["excludes"] = ({ host, kind }) => host === "deno" && kind === "swiftshader";

/** The same without subgroups, over packed rows. */
export function block(
  rows: number,
  columns: number,
  lanes: number,
  expectedOn: readonly ExpectedOn[] = ["software"],
): MatmulKernel {
  const files = [storeBlock, matmulBlock];
  return matmulKernel({
    name: `block ${rows}x${columns}x${lanes}`,
    files: { linear: files, conv1d: files },
    access: "own",
    packed: true,
    tile: { ROWS: rows, ROWS4: rows / 4, COLUMNS4: columns / 4 },
    sizes: { LANES: lanes },
    rows: leastAndMost(rows),
    expectedOn,
    ...(columns >= 16 && { excludes: neverCompiles }),
    invocations: lanes,
    grid: blockGrid(rows, columns * lanes),
  });
}

/** One row, `columns` in each of `lanes` invocations; `step`: k at a time, of [in, out]. */
export function lanes(
  layout: WeightLayout,
  columns: number,
  count: number,
  expectedOn: ExpectedOn,
  step = 1,
): MatmulKernel {
  const conv1d = layout === "conv1d";
  return matmulKernel({
    name: `lanes ${columns}x${count}${step > 1 ? `, ${step} a step` : ""}`,
    files: conv1d ? { conv1d: [matvecLanesConv1d] } : { linear: [matvecLanesLinear] },
    access: conv1d ? "vector" : "four",
    tile: conv1d ? { COLUMNS4: columns / 4, STEP: step } : { COLUMNS: columns },
    sizes: { LANES: count },
    rows: { least: 1, most: 1 },
    expectedOn: [expectedOn],
    invocations: count,
    grid: columnGrid(columns * count),
  });
}

/** One row and weights in blocks, `columns` in each of `count` invocations. */
export function blocks(layout: WeightLayout, columns: number, count: number): MatmulKernel {
  const conv1d = layout === "conv1d";
  return matmulKernel({
    name: `blocks ${columns}x${count}`,
    files: conv1d ? { conv1d: [matvecBlocksConv1d] } : { linear: [matvecBlocksLinear] },
    access: conv1d ? "vector" : "four",
    tile: { FOURS: 4, ...(!conv1d && { COLUMNS: columns }) },
    sizes: { LANES: count },
    rows: { least: 1, most: 1 },
    expectedOn: ["software"],
    invocations: count,
    inBlocks: true,
    grid: columnGrid(columns * count),
  });
}

/** Tiles of `side` x `side`, expected to win on `expectedTo` rows at most. */
export function tiled(side: number, expectedTo = MANY): MatmulKernel {
  const count = side / 4;
  return matmulKernel({
    name: `tiled ${side}x${side}`,
    files: { linear: [matmulTiled], conv1d: [matmulTiled] },
    access: "four",
    sizes: { LANES: count },
    rows: { least: 2, most: MANY },
    expectedOn: ["hardware"],
    expectedFor: ({ rows }) => rows <= expectedTo,
    invocations: count * count,
    grid: blockGrid(side, side),
  });
}

/** `columns` of [out, in], each by `count` invocations. */
export function sharedLinear(columns: number, count: number, expectedOn: readonly ExpectedOn[]): MatmulKernel {
  return matmulKernel({
    name: `shared ${columns}x${count}`,
    files: { linear: [matvecSharedLinear] },
    access: "four",
    sizes: { COLUMNS: columns, LANES: count },
    rows: { least: 1, most: 4 },
    expectedOn,
    invocations: columns * count,
    grid: (gpu, rowCount, outWidth) => [...foldGrid(gpu, Math.ceil(outWidth / columns)), Math.ceil(rowCount / 4)],
  });
}

/** 4 x `count` columns of [in, out], by `slices` of k. */
export function sharedConv1d(count: number, slices: number): MatmulKernel {
  return matmulKernel({
    name: `shared ${count}x${slices}`,
    files: { conv1d: [matvecSharedConv1d] },
    access: "vector",
    sizes: { LANES: count, SLICES: slices },
    rows: { least: 1, most: 4 },
    expectedOn: ["hardware"],
    invocations: count * slices,
    grid: (_, rowCount, outWidth) => [Math.ceil(outWidth / (4 * count)), rowCount, 1],
  });
}

/** The definition: any layout, any number of rows, slow. */
export const reference = matmulKernel({
  name: "reference",
  files: { linear: [matmulReference], conv1d: [matmulReference] },
  access: "vector",
  rows: { least: 1, most: MANY },
  expectedOn: [],
  invocations: 64,
  grid: (_, rowCount, outWidth) => [Math.ceil(outWidth / 64), rowCount, 1],
});
