/**
 * The family of matmul kernels: y = x W for few rows and for many, in both layouts of W and in each storage.
 *
 *   broadcast  blocks in registers, rows by subgroupBroadcast  CPUs that offer subgroups
 *   block      blocks in registers, rows packed                CPUs: no workgroup memory, no barrier
 *   lanes      one row, columns in registers                   CPUs
 *   blocks     the same over weights in blocks                 CPUs
 *   tiled      tiles of both operands in workgroup memory      GPUs, many rows
 *   shared     one to four rows, weights read coalesced        GPUs, decoding
 *
 * Every one is the default of some adapter, or was chosen by the tuner on one, or is the one alternative that GPUs have for a
 * shape. The last could not be timed here: `shared 4x64`, and for many rows `tiled 32x32` and `64x64` (docs/decisions.md).
 */
import { KernelFamily } from "./family.ts";
import {
  block,
  blocks,
  broadcast,
  lanes,
  MANY,
  type MatmulKernel,
  type MatmulShape,
  OTHER_SOURCES,
  reference,
  sharedConv1d,
  sharedLinear,
  tiled,
} from "./matmul-kernels.ts";

const CANDIDATES: readonly MatmulKernel[] = [
  // Before those for weights of any storage, which take these, too.
  blocks("conv1d", 16, 8),
  blocks("linear", 8, 8),
  lanes("conv1d", 16, 8, "swiftshader", 2),
  lanes("conv1d", 16, 8, "software"),
  lanes("linear", 8, 8, "software"),
  // Subgroups of 8: lavapipe.
  broadcast("conv1d", 4, 8, 8),
  broadcast("conv1d", 8, 8, 8),
  broadcast("conv1d", 32, 8, 8),
  broadcast("conv1d", 16, 8, 8),
  broadcast("linear", 4, 8, 8),
  broadcast("linear", 8, 8, 8),
  broadcast("linear", 32, 4, 8),
  broadcast("linear", 16, 4, 8),
  // Subgroups of 4: SwiftShader.
  broadcast("conv1d", 4, 8, 4),
  broadcast("conv1d", 8, 8, 4),
  broadcast("conv1d", 16, 4, 4),
  broadcast("linear", 4, 8, 4),
  broadcast("linear", 8, 8, 4),
  broadcast("linear", 16, 8, 4),
  // No subgroups: Deno.
  block(4, 8, 8),
  block(8, 8, 8),
  block(16, 8, 8),
  // Chosen by the tuner: 1.05 to 1.2 times as fast as their defaults on lavapipe with Mesa 22, but slower to compile.
  block(8, 16, 8, []),
  block(16, 16, 8, []),
  sharedLinear(4, 16, ["hardware"]),
  sharedConv1d(16, 16),
  tiled(32, 32),
  tiled(64),
  // 64 invocations a column: what NVIDIA's and AMD's GPUs are given elsewhere.
  sharedLinear(4, 64, []),
];

/** Rows of a class at most, and a number of rows that stands for it when it is timed. */
export const ROW_CLASSES = [
  { name: "1 row", most: 1, typical: 1 },
  { name: "2-4 rows", most: 4, typical: 4 },
  { name: "5-8 rows", most: 8, typical: 8 },
  { name: "9-32 rows", most: 32, typical: 32 },
  { name: "33 rows or more", most: MANY, typical: 128 },
] as const;

/** The class that a number of rows belongs to. */
export function rowClassOf(rows: number): (typeof ROW_CLASSES)[number] {
  return ROW_CLASSES.find(({ most }) => rows <= most) as (typeof ROW_CLASSES)[number];
}

export const MATMUL_FAMILY = new KernelFamily<MatmulShape, MatmulKernel>(
  "matmul",
  CANDIDATES,
  reference,
  ({ rows, layout, storage }) => `${rowClassOf(rows).name}, ${layout}, ${storage}`,
);

/** All that a choice between the candidates depends on: it changes when one of them does. */
export function matmulText(): string {
  const textOf = ({ name, layouts, kernel, inBlocks }: MatmulKernel) =>
    layouts.map((layout) => name + kernel(inBlocks ? "q8_0" : "f32", layout, "aligned").code);
  return [...CANDIDATES.flatMap(textOf), ...OTHER_SOURCES].join("");
}
