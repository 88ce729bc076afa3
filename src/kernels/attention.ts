/**
 * The family of attention kernels.
 *
 *   lanes          prompts of narrow heads in registers, for CPUs that offer subgroups: four rows an invocation, keys go round
 *   broadcastRows  prompts in registers, for CPUs that offer subgroups: eight rows at a time, queries by subgroupBroadcast
 *   subgroupKeys   few rows, for CPUs that offer subgroups: the head's dimensions are divided among a subgroup's invocations
 *   rows           prompts without workgroup memory, for CPUs: the rows of a workgroup read the same keys
 *   keys           few rows with little workgroup memory, for CPUs: the keys are divided among a workgroup's invocations
 *   tiled          prompts on a GPU: tiles of keys and values in workgroup memory
 *   single         few rows on a GPU: one workgroup for each row and head
 *   split          few rows and many keys on a GPU: several workgroups for each row and head, joined by a second kernel
 *   reference      in three steps, with scores and pattern in a buffer between them
 */
import attention from "../../shaders/attention.wgsl";
import attentionBroadcastRows from "../../shaders/attention_broadcast_rows.wgsl";
import attentionJoin from "../../shaders/attention_join.wgsl";
import attentionKeys from "../../shaders/attention_keys.wgsl";
import attentionLanes from "../../shaders/attention_lanes.wgsl";
import attentionRows from "../../shaders/attention_rows.wgsl";
import attentionSplit from "../../shaders/attention_split.wgsl";
import attentionSubgroupKeys from "../../shaders/attention_subgroup_keys.wgsl";
import attentionTiled from "../../shaders/attention_tiled.wgsl";
import reduce from "../../shaders/reduce.wgsl";
import type { Gpu } from "../gpu/gpu.ts";
import { defineKernel, type Kernel, u32 } from "../gpu/kernel.ts";
import { type BufferSlice, foldGrid, type Recorder } from "../gpu/recorder.ts";
import type { Tile } from "../gpu/unroll.ts";
import {
  type AttentionCall,
  type AttentionInput,
  type AttentionParam,
  attentionMix,
  attentionScores,
  attentionSoftmax,
} from "./attention-steps.ts";
import { ATTENTION_PARAMS, ATTENTION_SHARED, ATTENTION_TABLES } from "./definitions.ts";
import { type Candidate, type DeviceFacts, KernelFamily } from "./family.ts";
import { elementGrid, type Grid } from "./launch.ts";

/** Keys from which a GPU splits them: below, one workgroup a (row, head) is done before a second kernel would start. */
const MANY_KEYS = 256;

/** Kinds of passes, with the rows and keys that stand for them when they are timed. */
export const PASSES = {
  prompts: { rows: 128, keys: 128 },
  "few rows": { rows: 1, keys: 128 },
  "few rows, many keys": { rows: 1, keys: 4 * MANY_KEYS },
} as const;

export type PassKind = keyof typeof PASSES;

/** Of a pass, what decides whether an attention can take it. */
export type PassShape = Pick<Readonly<Record<AttentionParam, number>>, "rowCount" | "nHeads" | "dHead">;

/** What an attention is chosen for. */
export interface AttentionShape extends PassShape {
  readonly keyCount: number;
  /** How many runs the rows lie in, each of rows of one sequence. */
  readonly runs: number;
}

/** One way to compute z [rows, nHeads, dHead], the last buffer, from the others. */
export interface AttentionKernel extends Candidate<AttentionShape> {
  /** Passes it is meant for. It can compute any. */
  readonly passes: readonly PassKind[];
  /** Whether the device can run it, and should on so many rows and heads. */
  canRun(device: DeviceFacts, shape: PassShape): boolean;
  record(recorder: Recorder, call: AttentionCall, z: BufferSlice): void;
}

/** Rows of one sequence beside each other, on average, from which walking the keys together pays. */
const LONG_RUN = 3;

function passOf({ rowCount, keyCount, runs }: AttentionShape): PassKind {
  if (rowCount >= LONG_RUN * runs) return "prompts";
  return keyCount < MANY_KEYS ? "few rows" : "few rows, many keys";
}

/** A kernel that every device can run, unless `canRun` says otherwise. */
function attentionKernel({
  canRun = () => true,
  ...kernel
}: Omit<AttentionKernel, "fits" | "canRun"> & Partial<Pick<AttentionKernel, "canRun">>): AttentionKernel {
  return {
    ...kernel,
    canRun,
    fits: (device, shape) => kernel.passes.includes(passOf(shape)) && canRun(device, shape),
  };
}

/** What attention is put together from. */
const SOURCES: readonly string[] = [
  ...[attention, attentionBroadcastRows, attentionJoin, attentionKeys, attentionLanes, attentionRows, attentionSplit],
  ...[attentionSubgroupKeys, attentionTiled, reduce],
  ...ATTENTION_SHARED,
];

const INPUTS = { ...ATTENTION_TABLES, queries: "read", keys: "read", values: "read" } as const;

/** A kernel that computes z in one dispatch. */
type OneDispatch = Kernel<AttentionParam, AttentionInput | "z">;

const made = new Map<string, OneDispatch>();

/** A kernel for one width of heads, made when first asked for. */
function kernelFor(name: string, sources: readonly string[], sizes: Tile, tile: Tile = {}): OneDispatch {
  const full = [`attention ${name}`, ...Object.values({ ...sizes, ...tile })].join(" ");
  const known = made.get(full);
  if (known) return known;
  const kernel = defineKernel({
    ...{ name: full, sources: [...ATTENTION_SHARED, ...sources], sizes, tile },
    bindings: { ...INPUTS, z: "write" },
    params: ATTENTION_PARAMS,
  });
  made.set(full, kernel);
  return kernel;
}

/** The widest slice of a head, in vec4, that divides its `dHead / 4` and is at most `most`. */
function headSlice(dHead: number, most: number): number {
  const dHead4 = dHead / 4;
  for (let width = Math.min(most, dHead4); width > 1; width--) if (dHead4 % width === 0) return width;
  return 1;
}

type AttentionText = Omit<Parameters<typeof attentionKernel>[0], "record"> & {
  kernel(device: DeviceFacts, dHead: number): OneDispatch;
  grid(gpu: Gpu, shape: PassShape): Grid;
};

/** An attention of one dispatch. */
function oneDispatch({ kernel, grid, ...attention }: AttentionText): AttentionKernel {
  // Looked up in every layer, so by a number rather than by name.
  const made = new Map<number, OneDispatch>();
  const kernelOf = (device: DeviceFacts, dHead: number) => {
    const key = 1024 * dHead + lanesOf(device);
    const known = made.get(key) ?? kernel(device, dHead);
    made.set(key, known);
    return known;
  };
  return attentionKernel({
    ...attention,
    record: (recorder, { params, buffers, constants, work }, z) => {
      const { rowTable, slotTable, headNumbers, queries, keys, values } = buffers;
      recorder.dispatch(kernelOf(recorder.gpu.host, params.dHead), {
        params,
        constants: constants ?? {},
        work: work ?? {},
        buffers: { rowTable, slotTable, headNumbers, queries, keys, values, z },
        workgroups: grid(recorder.gpu, params),
      });
    },
  });
}

/** A workgroup a (row, head). */
const eachRowHead = (gpu: Gpu, { rowCount, nHeads }: PassShape) => foldGrid(gpu, rowCount * nHeads);

const rows = oneDispatch({
  name: "rows",
  passes: ["prompts"],
  expectedOn: ["software"],
  kernel: (_, dHead) => kernelFor("rows", [attentionRows], { D4: dHead / 4 }),
  grid: (gpu, { rowCount, nHeads }) => [...foldGrid(gpu, Math.ceil((rowCount * nHeads) / 64)), 1],
});

/** vec4 of a head that an invocation keeps: more than these compile for many seconds. */
const MOST_PER = 8;
const lanesOf = (device: DeviceFacts) => device.adapterInfo.subgroupMinSize;
const perOf = (device: DeviceFacts, dHead: number) => Math.ceil(dHead / 4 / lanesOf(device));
const canShare: AttentionKernel["canRun"] = (device, { dHead }) =>
  device.features.has("subgroups") && [4, 8].includes(lanesOf(device)) && perOf(device, dHead) <= MOST_PER;

/**
 * Rows of a block. 16 are up to 1.3 times as fast on lavapipe, no faster on SwiftShader, and take 2.7 s (heads of 64) to
 * 20 s (of 256) to compile.
 */
const BROADCAST_ROWS = 8;

const broadcastRows = oneDispatch({
  name: "broadcast rows",
  passes: ["prompts"],
  expectedOn: ["software"],
  canRun: canShare,
  kernel: (device, dHead) => {
    const LANES = lanesOf(device);
    const [ROWS, SHARE] = [BROADCAST_ROWS, Math.min(BROADCAST_ROWS, LANES)];
    const tile = { ROWS, PARTS: ROWS / SHARE, SHARE, PER: perOf(device, dHead), FOUR: 4 };
    return kernelFor("broadcast rows", [attentionBroadcastRows], { D4: dHead / 4, LANES }, tile);
  },
  grid: (_, { rowCount, nHeads }) => [Math.ceil(rowCount / BROADCAST_ROWS), nHeads, 1],
});

/** The widest heads whose dimensions are all unrolled: of 64 the kernels for gradients took two minutes to compile on lavapipe. */
export const WIDEST_UNROLLED = 16;
/** Rows of one sequence beside each other, on average, from which a block of 4 to a lane is not mostly hidden. */
const HALF_A_BLOCK = 16;

const lanes = oneDispatch({
  name: "lanes",
  passes: ["prompts"],
  expectedOn: ["software"],
  expectedFor: ({ rowCount, runs }) => rowCount >= HALF_A_BLOCK * runs,
  canRun: (device, shape) => canShare(device, shape) && shape.dHead <= WIDEST_UNROLLED,
  kernel: (device, dHead) => {
    const tile = { D4: dHead / 4, FOUR: 4 };
    return kernelFor("lanes", [attentionLanes], { LANES: lanesOf(device) }, tile);
  },
  grid: (gpu, { rowCount, nHeads }) => [Math.ceil(rowCount / (4 * lanesOf(gpu.host))), nHeads, 1],
});

const subgroupKeys = oneDispatch({
  name: "subgroup keys",
  passes: ["few rows", "few rows, many keys"],
  expectedOn: ["software"],
  canRun: canShare,
  kernel: (device, dHead) => {
    const sizes = { D4: dHead / 4, LANES: lanesOf(device) };
    return kernelFor("subgroup keys", [attentionSubgroupKeys], sizes, { PER: perOf(device, dHead), STEP: 2 });
  },
  grid: (gpu, shape) => [...eachRowHead(gpu, shape), 1],
});

/** Invocations that divide the keys; wide heads have fewer, since each keeps a head's width in workgroup memory. */
const keyLanes = (dHead: number) => (dHead <= 256 ? 8 : 2);

const keys = oneDispatch({
  name: "keys",
  passes: ["few rows", "few rows, many keys"],
  expectedOn: ["software"],
  kernel: (_, dHead) => kernelFor("keys", [attentionKeys], { D4: dHead / 4, LANES: keyLanes(dHead) }, { STEP: 4 }),
  grid: (gpu, shape) => [...eachRowHead(gpu, shape), 1],
});

/** vec4 of a slice, and rows of a workgroup: what fits in 16 KB of workgroup memory. */
const TILE4 = 32;
const slicesOf = (dHead: number) => dHead / 4 / headSlice(dHead, TILE4);
const tiledRows = (dHead: number) => (headSlice(dHead, TILE4) > 16 ? 8 : 16);

const tiled = oneDispatch({
  name: "tiled",
  passes: ["prompts"],
  expectedOn: ["hardware"],
  kernel: (_, dHead) => {
    const ROWS = tiledRows(dHead);
    const sizes = { D4: headSlice(dHead, TILE4), ROWS, KEYS: ROWS, SHARE: 64 / ROWS };
    return kernelFor("tiled", [attentionTiled], sizes);
  },
  grid: (_, { rowCount, nHeads, dHead }) => [Math.ceil(rowCount / tiledRows(dHead)), nHeads, slicesOf(dHead)],
});

const single = oneDispatch({
  name: "single",
  passes: ["few rows", "few rows, many keys"],
  expectedOn: ["hardware"],
  kernel: () => kernelFor("single", [reduce, attention], {}),
  grid: (gpu, shape) => [...eachRowHead(gpu, shape), Math.ceil(shape.dHead / 256)],
});

const SPLIT = defineKernel({
  name: "attention split 64",
  sources: [...ATTENTION_SHARED, reduce, attentionSplit],
  sizes: { LANES: 64 },
  bindings: { ...INPUTS, parts: "write" },
  params: ATTENTION_PARAMS,
});

const JOIN = defineKernel({
  name: "attention join",
  sources: attentionJoin,
  bindings: { parts: "read", sinks: "read", z: "write" },
  params: u32("count", "dHead", "splits", "nHeads"),
});

/** Least keys of a split, and most splits: more keep no GPU busier, and the second kernel reads them one by one. */
const SPLIT_KEYS = 64;
const MOST_SPLITS = 32;
/** With as many (row, head)s a GPU has enough to do without splitting. */
const ENOUGH_ROW_HEADS = 512;

/** Keys that one query sees at most. */
function mostSeen({ params: { window, keyCount }, constants }: AttentionCall): number {
  if (window === 0) return keyCount;
  return Math.min(constants?.CAUSAL === 0 ? 2 * window - 1 : window, keyCount);
}

const split = attentionKernel({
  name: "split",
  passes: ["few rows, many keys"],
  expectedOn: ["hardware"],
  canRun: (_, { rowCount, nHeads }) => rowCount * nHeads < ENOUGH_ROW_HEADS,
  record(recorder, call, z) {
    const { rowCount, nHeads, dHead } = call.params;
    const count = rowCount * nHeads;
    const most = mostSeen(call);
    const splitKeys = SPLIT_KEYS * Math.ceil(most / SPLIT_KEYS / MOST_SPLITS);
    const splits = Math.ceil(most / splitKeys);
    const parts = recorder.temp(count, splits, dHead + 2);
    recorder.dispatch(SPLIT, {
      ...call,
      params: { ...call.params, splitKeys },
      buffers: { ...call.buffers, parts },
      workgroups: [count, splits, Math.ceil(dHead / 256)],
    });
    recorder.dispatch(JOIN, {
      params: { count, dHead, splits, nHeads },
      constants: { HAS_SINKS: call.constants?.HAS_SINKS ?? 0 },
      buffers: { parts, sinks: call.buffers.headNumbers, z },
      workgroups: elementGrid(recorder, count * dHead),
    });
    recorder.release(parts);
  },
});

/** Step by step, scores and pattern in memory. */
function recordSteps(recorder: Recorder, call: AttentionCall, z: BufferSlice): void {
  const { rowCount, nHeads, keyCount } = call.params;
  const scores = recorder.temp(rowCount, nHeads, keyCount);
  attentionScores(recorder, call, scores);
  attentionSoftmax(recorder, call, scores);
  attentionMix(recorder, call, scores, z);
  recorder.release(scores);
}

const CANDIDATES: readonly AttentionKernel[] = [lanes, broadcastRows, subgroupKeys, rows, keys, tiled, split, single];

const reference = attentionKernel({
  name: "reference",
  passes: Object.keys(PASSES) as PassKind[],
  expectedOn: [],
  record: recordSteps,
});

export const ATTENTION_FAMILY = new KernelFamily<AttentionShape, AttentionKernel>(
  "attention",
  CANDIDATES,
  reference,
  (shape) => `attention of ${passOf(shape)}, dHead ${shape.dHead}`,
);

/** All that a choice between the candidates depends on: it changes when one of them does. */
export function attentionText(): string {
  return [...SOURCES, ...CANDIDATES.map(({ name }) => name), BROADCAST_ROWS, TILE4, SPLIT_KEYS, MOST_SPLITS].join("");
}
