/**
 * The plan of loading, from headers alone: which rows of which tensors become which matrix or vector on the GPU, in which
 * form, and how many bytes that takes. `load.ts` carries the plan out, `inspect` adds up its bytes, and `fit.ts` finds the
 * tensors that it does not use.
 */
import type { Checkpoint, TensorInfo } from "../../checkpoint/index.ts";
import type { Matrix, MatrixPart } from "../../kernels/matrix.ts";
import { ELEMENT_BYTES, isBlockStorage, rowStep, type StorageType } from "../../kernels/storage.ts";
import type { ModelSpec, TensorSource } from "../spec.ts";
import { type FloatTensor, findWeight, membersOf } from "./find.ts";
import { commonStorage, storageOf } from "./storage.ts";
import {
  isPerBlock,
  isWeightOf,
  ROUTING_WEIGHTS,
  WEIGHT_NAMES,
  WEIGHTS,
  type WeightName,
  weightShape,
} from "./table.ts";

/** Rows of a tensor: of `groups` groups of `groupSize` rows, `count` from `start` on in each. */
export type Cut = Readonly<NonNullable<TensorSource["rows"]>>;

/** How many rows are taken. */
export const rowsTaken = ({ groups, count }: Cut): number => groups * count;

/** Where the tensor has the row that is taken as number `index`. */
export const rowTaken = ({ groupSize, start, count }: Cut, index: number): number =>
  Math.floor(index / count) * groupSize + start + (index % count);

/** A checkpoint tensor with the rows wanted of it. */
export interface Piece {
  info: FloatTensor;
  source: TensorSource;
  /** Rows of the whole tensor after `transpose`, and their width. */
  rows: number;
  width: number;
  /** Elements of the tensor before them: of the experts before this one. */
  start: number;
  /** Rows taken of them. */
  cut: Cut;
  /** Where they begin in the matrix. */
  at: number;
}

/** A matrix that has no buffers yet. A vector is one in one part, and most have a single column. */
export interface PlannedMatrix extends Omit<Matrix, "parts"> {
  readonly parts: readonly PlannedPart[];
}

export interface PlannedPart extends Pick<MatrixPart, "firstRow" | "rows" | "storage"> {
  readonly bytes: number;
}

/** What will lie in one place of the weights. */
export interface PlannedWeight {
  readonly place: string;
  readonly isVector: boolean;
  /** The block; undefined outside of blocks. */
  readonly layer: number | undefined;
  /** What it is made of; what no piece fills is zero. */
  readonly pieces: readonly Piece[];
  readonly matrix: PlannedMatrix;
}

/** How matrices are to be kept, where that is not as they are stored. Norms, biases and tables of positions are float32 anyway. */
export interface KeptAs {
  /** Every weight as float32, whatever its type in the checkpoint. */
  dtype?: "float32";
  /** The storage of matrices: rounded to f16, or quantised. */
  weights?: WeightsAs;
}

/** What weights are kept as: their own type, or rounded or quantised while they are read. */
export const WEIGHTS_AS = ["as stored", "f16", "q8_0", "q4_0"] as const;
/** How matrices lie on the GPU: as the checkpoint has them, rounded to float16, or quantised as ggml does it. */
export type WeightsAs = (typeof WEIGHTS_AS)[number];

/** What an adapter lets a kernel bind. */
interface Limits {
  maxStorageBufferBindingSize: number;
  maxBufferSize: number;
}

export const NO_LIMITS: Limits = { maxStorageBufferBindingSize: Infinity, maxBufferSize: Infinity };

/**
 * The whole model's plan. The spec is the one that `fitCheckpoint` returns.
 * @throws CheckpointError what `findWeight` throws when spec and tensors do not fit together
 */
export function planWeights(
  spec: ModelSpec,
  checkpoint: Checkpoint,
  limits: Limits = NO_LIMITS,
  { dtype, weights: as }: KeptAs = {},
): PlannedWeight[] {
  const wanted = as === "as stored" ? undefined : as;
  const planned = (layer: number | undefined) =>
    stacksOf(spec, layer).flatMap((names) => planOne(spec, checkpoint, { limits, wanted }, names, layer) ?? []);
  const plan = [...planned(undefined), ...spec.layers.flatMap((_, layer) => planned(layer))];
  if (dtype === undefined) return plan;
  return plan.map((weight) => ({ ...weight, matrix: inFloat32(weight, limits) }));
}

/** The weights of each place that the spec has something for, inside or outside of blocks. */
function stacksOf(spec: ModelSpec, layer: number | undefined): WeightName[][] {
  const inBlock = layer !== undefined;
  const names = WEIGHT_NAMES.filter(
    (name) => spec.weights[name] && isPerBlock(name) === inBlock && isWeightOf(spec, name, layer ?? 0),
  );
  const places = new Set(names.map((name) => WEIGHTS[name].place));
  // Of a stack, what the block has: queries alone where it reads another's keys and values.
  return [...places].map((place) =>
    WEIGHT_NAMES.filter(
      (name) => WEIGHTS[name].place === place && isPerBlock(name) === inBlock && isWeightOf(spec, name, layer ?? 0),
    ),
  );
}

interface HowLaidOut {
  readonly limits: Limits;
  /** The storage of matrices, if not the checkpoint's. */
  readonly wanted: StorageType | undefined;
}

function planOne(
  spec: ModelSpec,
  checkpoint: Checkpoint,
  how: HowLaidOut,
  names: readonly WeightName[],
  layer: number | undefined,
): PlannedWeight | undefined {
  const pieces: Piece[] = [];
  let rows = 0;
  for (const name of names) {
    const [all = 0, width = 1] = weightShape(spec, name, layer);
    const members = membersOf(spec, name, layer);
    const taken = all / members;
    for (let member = 0; member < members; member++) {
      const info = findWeight(spec, checkpoint, name, layer, member);
      if (info) pieces.push({ ...pieceOf(info, spec.weights[name] as TensorSource, taken, width, member), at: rows });
      rows += taken;
    }
  }
  if (pieces.length === 0) return undefined;
  const [first] = names as [WeightName];
  const { place, form } = WEIGHTS[first];
  return { place, isVector: form === "vector", layer, pieces, matrix: matrixOf(first, pieces, rows, how) };
}

function pieceOf(
  info: FloatTensor,
  source: TensorSource,
  taken: number,
  width: number,
  member: number,
): Omit<Piece, "at"> {
  const cut = source.rows ?? { groups: 1, groupSize: taken, start: 0, count: taken };
  const rows = cut.groups * cut.groupSize;
  const start = /\{[eh]\}/.test(source.tensor) ? 0 : member * rows * width;
  return { info, source, rows, width, start, cut };
}

/** Whether the file has a piece's tensor as [in, out]. */
export const isStoredTurned = ({ source, info }: { source: TensorSource; info: TensorInfo }): boolean =>
  source.transpose === true && info.isTurned !== true;

/** Elements of a row in memory: a multiple of four, or of the elements of a block. */
const padded = (elements: number, step: number) => Math.ceil(elements / step) * step;

/** Rows of a matrix that have one storage. */
type Run = Required<Pick<MatrixPart, "firstRow" | "rows" | "storage">>;

/**
 * The form of a matrix on the GPU. That of a block keeps the layout [in, out] it is stored in, if all of it has it, in one
 * type and one binding; any other becomes [out, in], cut into parts that can be bound.
 */
function matrixOf(
  name: WeightName,
  pieces: readonly Piece[],
  outWidth: number,
  { limits, wanted }: HowLaidOut,
): PlannedMatrix {
  const { form } = WEIGHTS[name];
  const width = pieces[0]?.width as number;
  if (form === "vector") {
    const part = { firstRow: 0, rows: outWidth, bytes: outWidth * width * 4 };
    return { outWidth, width, storage: "f32", layout: "linear", stride: width, parts: [part] };
  }
  // A router that is rounded to few bits sends tokens to other experts.
  const kept = wanted && isBlockStorage(wanted) && ROUTING_WEIGHTS.has(name) ? undefined : wanted;
  const runs =
    form === "matrix" ? runsOf(pieces, outWidth, kept) : [{ firstRow: 0, rows: outWidth, storage: "f32" as const }];
  const dtypes = new Set(pieces.map(({ info }) => info.dtype));
  const isTransposed =
    isPerBlock(name) && !WEIGHTS[name].perExpert && pieces.every(isStoredTurned) && dtypes.size === 1;
  return laidOut({ outWidth, width }, runs, isTransposed, limits);
}

/** Rows in their own storage where one of them is quantised; else all in their common type. */
function runsOf(pieces: readonly Piece[], outWidth: number, wanted: StorageType | undefined): Run[] {
  const storages = pieces.map(({ info }) => storageOf(info.dtype));
  const isMixed = wanted === undefined && new Set(storages).size > 1 && storages.some(isBlockStorage);
  const storage = wanted ?? commonStorage(pieces.map(({ info }) => info.dtype));
  if (!isMixed) return [{ firstRow: 0, rows: outWidth, storage }];
  const runs: Run[] = [];
  for (const [index, { at }] of pieces.entries()) {
    const own = storages[index] as StorageType;
    const rows = (pieces[index + 1]?.at ?? outWidth) - at;
    const last = runs.at(-1);
    if (last?.storage === own) runs[runs.length - 1] = { ...last, rows: last.rows + rows };
    else runs.push({ firstRow: at, rows, storage: own });
  }
  return runs;
}

/** In conv1d layout where it may be and fits in one binding, else linear in as many parts as it takes. */
function laidOut(
  { outWidth, width }: Pick<Matrix, "outWidth" | "width">,
  runs: readonly Run[],
  mayBeConv1d: boolean,
  limits: Limits,
): PlannedMatrix {
  const [{ storage }] = runs as [Run, ...Run[]];
  const step = Math.max(...runs.map((run) => rowStep(run.storage)));
  const conv1dBytes = padded(outWidth, step) * ELEMENT_BYTES[storage];
  if (mayBeConv1d && width <= rowsPerPart(limits, conv1dBytes)) {
    const part = { firstRow: 0, rows: outWidth, bytes: width * conv1dBytes };
    return { outWidth, width, storage, layout: "conv1d", stride: padded(outWidth, step), parts: [part] };
  }
  const stride = padded(width, step);
  const parts = runs.flatMap((run) => partsOf(run, stride * ELEMENT_BYTES[run.storage], limits));
  const own = parts.map(({ storage: each, ...part }) => (each === storage ? part : { ...part, storage: each }));
  return { outWidth, width, storage, layout: "linear", stride, parts: own };
}

/** The same matrix in float32: for its gradient, and where a model is loaded so. */
export function inFloat32({ isVector, matrix }: PlannedWeight, limits: Limits): PlannedMatrix {
  const { outWidth, layout, storage, parts } = matrix;
  if (isVector || (storage === "f32" && parts.every((part) => part.storage === undefined))) return matrix;
  return laidOut(matrix, [{ firstRow: 0, rows: outWidth, storage: "f32" }], layout === "conv1d", limits);
}

function partsOf({ firstRow, rows, storage }: Run, rowBytes: number, limits: Limits): (Run & { bytes: number })[] {
  const perPart = Math.min(rows, rowsPerPart(limits, rowBytes));
  return Array.from({ length: Math.ceil(rows / perPart) }, (_, part) => {
    const count = Math.min(perPart, rows - part * perPart);
    return { firstRow: firstRow + part * perPart, rows: count, storage, bytes: count * rowBytes };
  });
}

/** Rows of so many bytes that fit in one binding. */
function rowsPerPart({ maxStorageBufferBindingSize, maxBufferSize }: Limits, rowBytes: number): number {
  return Math.max(1, Math.floor(Math.min(maxStorageBufferBindingSize, maxBufferSize) / rowBytes));
}
