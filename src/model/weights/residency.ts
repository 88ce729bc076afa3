/**
 * Which weights stay on the GPU, and which are read again in each pass, from the plan of loading alone. What lies outside of blocks
 * stays, and so do the vectors of all blocks, which are small. The matrices of the blocks stay as far as they are allowed to; those
 * of the others take turns in two windows, so that one can be filled while the GPU reads the other.
 */
import type { Checkpoint } from "../../checkpoint/index.ts";
import { InputError } from "../../errors.ts";
import type { ModelSpec } from "../spec.ts";
import { type KeptAs, NO_LIMITS, type PlannedPart, type PlannedWeight, planWeights, rowsTaken } from "./plan.ts";
import { cacheWidth } from "./table.ts";

/** `streamed`: the matrices of the blocks are read again in each pass, but for those that `residentBytes` has room for. */
export const RESIDENCIES = ["resident", "streamed"] as const;

/** Where weights are between passes. */
export interface KeptWhere {
  /** Where weights are between passes. */
  residency?: (typeof RESIDENCIES)[number];
  /** Bytes of weights that may lie on the GPU, where they are streamed. */
  residentBytes?: number;
}

export interface Residency {
  /** The blocks that are read again in each pass. */
  readonly streamed: readonly number[];
  /** Windows, and the bytes of each buffer of one, falling. */
  readonly windows: number;
  readonly window: readonly number[];
  /** Bytes on the GPU, windows included. */
  readonly bytes: number;
}

/** Bytes of the buffer of a part: at least 16, in whole words. */
export const bufferBytes = ({ bytes }: PlannedPart): number => Math.max(16, Math.ceil(bytes / 4) * 4);

/** The matrices of a block that may be streamed: all, but for those with rows of zeros that no tensor has. */
export const matricesOf = (plan: readonly PlannedWeight[], layer: number): PlannedWeight[] =>
  plan.filter((planned) => planned.layer === layer && !planned.isVector && isFilled(planned));

const isFilled = ({ pieces, matrix }: PlannedWeight): boolean =>
  sum(pieces.map(({ cut }) => rowsTaken(cut))) === matrix.outWidth;

/** A window for two: one is filled while the GPU reads the other. */
const WINDOWS = 2;

/**
 * As many blocks as `residentBytes` allows stay, evenly among those that are streamed: the GPU has something to do while they are read.
 * @throws InputError `input/resident-bytes` when it does not allow even the windows
 */
export function planResidency(plan: readonly PlannedWeight[], layers: number, residentBytes = 0): Residency {
  const ofLayers = Array.from({ length: layers }, (_, layer) => sizesOf(matricesOf(plan, layer)));
  const always = sum(sizesOf(plan)) - sum(ofLayers.flat());
  const withKept = (kept: number): Residency => {
    const stays = (layer: number) => Math.floor(((layer + 1) * kept) / layers) > Math.floor((layer * kept) / layers);
    const streamed = [...ofLayers.keys()].filter((layer) => !stays(layer));
    const windows = Math.min(WINDOWS, streamed.length);
    const window = largestOfEach(streamed.map((layer) => ofLayers[layer] as number[]));
    const resident = sum(ofLayers.filter((_, layer) => stays(layer)).flat());
    return { streamed, windows, window, bytes: always + resident + windows * sum(window) };
  };
  for (let kept = layers; kept > 0; kept--) {
    const residency = withKept(kept);
    if (residency.bytes <= residentBytes) return residency;
  }
  const least = withKept(0);
  if (residentBytes === 0 || least.bytes <= residentBytes) return least;
  throw new InputError(
    "input/resident-bytes",
    `residentBytes is ${residentBytes}, and this model needs ${least.bytes} on the GPU even where every block is streamed. Give at least as much, leave residentBytes out, or quantise the weights while they are read (weights: "q4_0").`,
  );
}

const sizesOf = (weights: readonly PlannedWeight[]) =>
  weights.flatMap(({ matrix }) => matrix.parts.map(bufferBytes)).sort((a, b) => b - a);

/** The largest first, second, … of lists that fall. */
function largestOfEach(lists: readonly (readonly number[])[]): number[] {
  const longest = Math.max(0, ...lists.map(({ length }) => length));
  return Array.from({ length: longest }, (_, index) => Math.max(...lists.map((list) => list[index] ?? 0)));
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, each) => total + each, 0);

export interface GpuMemory {
  /** Bytes of all weights. */
  weights: number;
  /** Bytes of weights where they are streamed, and the blocks that are then read in each pass. */
  streamed: number;
  streamedBlocks: number;
  /** Bytes of keys and values, for each token of each sequence. */
  cachePerToken: number;
}

/**
 * What a model will take on the GPU, where a buffer has at least 16 bytes and a matrix lies in one.
 * @throws InputError `input/resident-bytes`
 */
export function gpuMemory(
  spec: ModelSpec,
  checkpoint: Checkpoint,
  { residentBytes, ...kept }: KeptAs & Pick<KeptWhere, "residentBytes"> = {},
): GpuMemory {
  const plan = planWeights(spec, checkpoint, NO_LIMITS, kept);
  const { bytes, streamed } = planResidency(plan, spec.nLayers, residentBytes);
  return {
    weights: sum(sizesOf(plan)),
    streamed: bytes,
    streamedBlocks: streamed.length,
    cachePerToken: 4 * cacheWidth(spec),
  };
}
