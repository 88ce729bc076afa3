/**
 * Attention: a small family of kernels that compute the same thing, and which of them takes a pass. As with products, the
 * tuner's choice does (`tuning/attention.ts`), or the first of the table that suits the kind of adapter.
 *
 *   broadcastRows  prompts in registers, for CPUs that offer subgroups: eight rows at a time, queries handed round
 *   subgroupKeys   few rows, likewise: the invocations of a subgroup share out the head's dimensions
 *   rows           prompts without workgroup memory, for CPUs: the rows of a workgroup walk the same keys
 *   keys           few rows without much of it, for CPUs: the invocations of a workgroup share out the keys
 *   tiled          prompts on a GPU: tiles of keys and values in workgroup memory
 *   single         few rows on a GPU: a workgroup a (row, head)
 *   split          few rows and many keys on a GPU: several workgroups a (row, head), joined by a second kernel
 *   reference      in three steps, with scores and pattern between them written out
 */
import attention from "../../shaders/attention.wgsl";
import attentionBroadcastRows from "../../shaders/attention_broadcast_rows.wgsl";
import attentionJoin from "../../shaders/attention_join.wgsl";
import attentionKeys from "../../shaders/attention_keys.wgsl";
import attentionRows from "../../shaders/attention_rows.wgsl";
import attentionShared from "../../shaders/attention_shared.wgsl";
import attentionSplit from "../../shaders/attention_split.wgsl";
import attentionSubgroupKeys from "../../shaders/attention_subgroup_keys.wgsl";
import attentionTiled from "../../shaders/attention_tiled.wgsl";
import reduce from "../../shaders/reduce.wgsl";
import type { Gpu } from "../gpu/gpu.ts";
import { defineKernel, type Kernel } from "../gpu/kernel.ts";
import { type BufferSlice, foldGrid, type Recorder } from "../gpu/recorder.ts";
import type { Tile } from "../gpu/unroll.ts";
import {
  type AttentionCall,
  type AttentionParam,
  attentionMix,
  attentionScores,
  attentionSoftmax,
} from "./attention-steps.ts";
import { elementGrid } from "./calls.ts";
import { choiceFor } from "./choices.ts";
import { ATTENTION_PARAMS } from "./definitions.ts";

export type { AttentionCall, AttentionParam };

import type { Grid, Product } from "./matmul.ts";

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

/** One way to compute z [rows, nHeads, dHead], the last buffer, from the others. */
export interface Attention {
  readonly name: string;
  /** Passes it is meant for. It can compute any. */
  readonly passes: readonly PassKind[];
  /** Where it is expected to win, and is taken without being timed. */
  readonly expectedOn: Exclude<Product["expectedOn"], "swiftshader">;
  /** Whether the device can run it, and should on so many rows and heads; without it every device can. */
  fits?(gpu: Gpu, shape: PassShape): boolean;
  record(recorder: Recorder, call: AttentionCall, z: BufferSlice): void;
}

/** What attention is put together from, for the key under which choices are kept. */
const SOURCES: readonly string[] = [
  ...[attention, attentionBroadcastRows, attentionJoin, attentionKeys, attentionRows, attentionShared, attentionSplit],
  ...[attentionSubgroupKeys, attentionTiled, reduce],
];

const BINDINGS = ["read", "read", "read", "read", "read", "read", "write"] as const;
const made = new Map<string, Kernel<AttentionParam>>();

/** A kernel for one width of heads, made when first asked for. */
function kernelFor(name: string, sources: readonly string[], sizes: Tile, tile: Tile = {}): Kernel<AttentionParam> {
  const full = [`attention ${name}`, ...Object.values({ ...sizes, ...tile })].join(" ");
  const known = made.get(full);
  if (known) return known;
  const kernel = defineKernel({
    ...{ name: full, sources: [attentionShared, ...sources], sizes, tile },
    bindings: BINDINGS,
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

interface AttentionText extends Omit<Attention, "record"> {
  kernel(gpu: Gpu, dHead: number): Kernel<AttentionParam>;
  grid(gpu: Gpu, shape: PassShape): Grid;
}

/** An attention of one dispatch. */
function attentionOf({ kernel, grid, ...attention }: AttentionText): Attention {
  return {
    ...attention,
    record: (recorder, call, z) =>
      recorder.dispatch(kernel(recorder.gpu, call.params.dHead), {
        ...call,
        buffers: [...call.buffers, z],
        workgroups: grid(recorder.gpu, call.params),
      }),
  };
}

/** A workgroup a (row, head). */
const eachRowHead = (gpu: Gpu, { rowCount, nHeads }: PassShape) => foldGrid(gpu, rowCount * nHeads);

const rows = attentionOf({
  name: "rows",
  passes: ["prompts"],
  expectedOn: "software",
  kernel: (_, dHead) => kernelFor("rows", [attentionRows], { D4: dHead / 4 }),
  grid: (gpu, { rowCount, nHeads }) => [...foldGrid(gpu, Math.ceil((rowCount * nHeads) / 64)), 1],
});

/** vec4 of a head that an invocation keeps: more than these compile for many seconds. */
const MOST_PER = 8;
const lanesOf = (gpu: Gpu) => gpu.host.adapterInfo.subgroupMinSize;
const perOf = (gpu: Gpu, dHead: number) => Math.ceil(dHead / 4 / lanesOf(gpu));
const canShare = (gpu: Gpu, { dHead }: PassShape) =>
  gpu.host.features.has("subgroups") && [4, 8].includes(lanesOf(gpu)) && perOf(gpu, dHead) <= MOST_PER;

/**
 * Rows of a block. 16 are up to 1.3 times as fast on lavapipe, no faster on SwiftShader, and take 2.7 s (heads of 64) to
 * 20 s (of 256) to compile.
 */
const BROADCAST_ROWS = 8;

const broadcastRows = attentionOf({
  name: "broadcast rows",
  passes: ["prompts"],
  expectedOn: "software",
  fits: canShare,
  kernel: (gpu, dHead) => {
    const LANES = lanesOf(gpu);
    const [ROWS, SHARE] = [BROADCAST_ROWS, Math.min(BROADCAST_ROWS, LANES)];
    const tile = { ROWS, PARTS: ROWS / SHARE, SHARE, PER: perOf(gpu, dHead), FOUR: 4 };
    return kernelFor("broadcast rows", [attentionBroadcastRows], { D4: dHead / 4, LANES }, tile);
  },
  grid: (_, { rowCount, nHeads }) => [Math.ceil(rowCount / BROADCAST_ROWS), nHeads, 1],
});

const subgroupKeys = attentionOf({
  name: "subgroup keys",
  passes: ["few rows", "few rows, many keys"],
  expectedOn: "software",
  fits: canShare,
  kernel: (gpu, dHead) => {
    const sizes = { D4: dHead / 4, LANES: lanesOf(gpu) };
    return kernelFor("subgroup keys", [attentionSubgroupKeys], sizes, { PER: perOf(gpu, dHead), STEP: 2 });
  },
  grid: (gpu, shape) => [...eachRowHead(gpu, shape), 1],
});

/** Invocations that share out the keys; wide heads have fewer, since each keeps a head's width in workgroup memory. */
const keyLanes = (dHead: number) => (dHead <= 256 ? 8 : 2);

const keys = attentionOf({
  name: "keys",
  passes: ["few rows", "few rows, many keys"],
  expectedOn: "software",
  kernel: (_, dHead) => kernelFor("keys", [attentionKeys], { D4: dHead / 4, LANES: keyLanes(dHead) }, { STEP: 4 }),
  grid: (gpu, shape) => [...eachRowHead(gpu, shape), 1],
});

/** vec4 of a slice, and rows of a workgroup: what fits in 16 KB of workgroup memory. */
const TILE4 = 32;
const slicesOf = (dHead: number) => dHead / 4 / headSlice(dHead, TILE4);
const tiledRows = (dHead: number) => (headSlice(dHead, TILE4) > 16 ? 8 : 16);

const tiled = attentionOf({
  name: "tiled",
  passes: ["prompts"],
  expectedOn: "hardware",
  kernel: (_, dHead) => {
    const ROWS = tiledRows(dHead);
    const sizes = { D4: headSlice(dHead, TILE4), ROWS, KEYS: ROWS, SHARE: 64 / ROWS };
    return kernelFor("tiled", [attentionTiled], sizes);
  },
  grid: (_, { rowCount, nHeads, dHead }) => [Math.ceil(rowCount / tiledRows(dHead)), nHeads, slicesOf(dHead)],
});

const single = attentionOf({
  name: "single",
  passes: ["few rows", "few rows, many keys"],
  expectedOn: "hardware",
  kernel: () => kernelFor("single", [reduce, attention], {}),
  grid: (gpu, shape) => [...eachRowHead(gpu, shape), Math.ceil(shape.dHead / 256)],
});

const JOIN = defineKernel({
  name: "attention join",
  sources: attentionJoin,
  bindings: ["read", "write"],
  params: { count: "u32", dHead: "u32", splits: "u32" },
});

/** Keys of a split at least, and splits at most: more keep no GPU busier, and the second kernel walks them one by one. */
const SPLIT_KEYS = 64;
const MOST_SPLITS = 32;
/** With as many (row, head)s a GPU has enough to do without splitting. */
const ENOUGH_ROW_HEADS = 512;

/** Keys that one query sees at most. */
function mostSeen({ params: { window, keyCount }, constants }: AttentionCall): number {
  if (window === 0) return keyCount;
  return Math.min(constants?.CAUSAL === 0 ? 2 * window - 1 : window, keyCount);
}

const split: Attention = {
  name: "split",
  passes: ["few rows, many keys"],
  expectedOn: "hardware",
  fits: (_, { rowCount, nHeads }) => rowCount * nHeads < ENOUGH_ROW_HEADS,
  record(recorder, call, z) {
    const { rowCount, nHeads, dHead } = call.params;
    const count = rowCount * nHeads;
    const most = mostSeen(call);
    const splitKeys = SPLIT_KEYS * Math.ceil(most / SPLIT_KEYS / MOST_SPLITS);
    const splits = Math.ceil(most / splitKeys);
    const parts = recorder.temp(count, splits, dHead + 2);
    recorder.dispatch(kernelFor("split", [reduce, attentionSplit], { LANES: 64 }), {
      ...call,
      params: { ...call.params, splitKeys },
      buffers: [...call.buffers, parts],
      workgroups: [count, splits, Math.ceil(dHead / 256)],
    });
    recorder.dispatch(JOIN, {
      params: { count, dHead, splits },
      buffers: [parts, z] as BufferSlice[],
      workgroups: elementGrid(recorder, count * dHead),
    });
    recorder.release(parts);
  },
};

/** Every one there is. Of those that fit, the first that is expected on the kind of adapter is a pass's default. */
export const ATTENTIONS: readonly Attention[] = [broadcastRows, subgroupKeys, rows, keys, tiled, split, single];

/** Step by step, scores and pattern in memory. */
export function recordSteps(recorder: Recorder, call: AttentionCall, z: BufferSlice): void {
  const { rowCount, nHeads, keyCount } = call.params;
  const scores = recorder.temp(rowCount, nHeads, keyCount);
  attentionScores(recorder, call, scores);
  attentionSoftmax(recorder, call, scores);
  attentionMix(recorder, call, scores, z);
  recorder.release(scores);
}

/** What the others are checked against. */
export const REFERENCE_ATTENTION: Attention = {
  name: "reference",
  passes: Object.keys(PASSES) as PassKind[],
  expectedOn: "nowhere",
  record: recordSteps,
};

const ALL_ATTENTIONS = [...ATTENTIONS, REFERENCE_ATTENTION];

/** All that a choice between them depends on, as text: it changes when one of them does. */
export const attentionVersion = () =>
  [...SOURCES, ...ATTENTIONS.map(({ name }) => name), BROADCAST_ROWS, TILE4, SPLIT_KEYS, MOST_SPLITS].join("");

/** What an attention is chosen for. */
export interface AttentionClass {
  readonly pass: PassKind;
  readonly dHead: number;
}

/** Under which its choice is kept. */
export function attentionKey({ pass, dHead }: AttentionClass): string {
  return `attention of ${pass}, dHead ${dHead}`;
}

/** The attentions meant for such a pass that the device can run. */
export function fittingAttentions(gpu: Gpu, pass: PassKind, shape: PassShape, among = ATTENTIONS): Attention[] {
  return among.filter((each) => each.passes.includes(pass) && each.fits?.(gpu, shape) !== false);
}

/** What is taken where nothing was timed. */
export function defaultAttention(gpu: Gpu, pass: PassKind, shape: PassShape): Attention {
  const kind = gpu.host.adapterInfo.isSoftware ? "software" : "hardware";
  return fittingAttentions(gpu, pass, shape).find(({ expectedOn }) => expectedOn === kind) ?? REFERENCE_ATTENTION;
}

/** What the tuner found for the class on this device, if it did. */
export function chosenAttention(gpu: Gpu, wanted: AttentionClass): Attention | undefined {
  const choice = choiceFor(gpu, attentionKey(wanted));
  return ALL_ATTENTIONS.find(({ name }) => name === choice);
}

/** Rows of one sequence beside each other, on average, from which walking the keys together pays. */
const LONG_RUN = 3;

/** Which one takes a pass, whose rows lie in `runs` runs of one sequence each. */
export function attentionFor(gpu: Gpu, params: AttentionCall["params"], runs: number): Attention {
  const few = params.keyCount < MANY_KEYS ? "few rows" : "few rows, many keys";
  const pass = params.rowCount >= LONG_RUN * runs ? "prompts" : few;
  const choice = chosenAttention(gpu, { pass, dHead: params.dHead });
  return choice && choice.fits?.(gpu, params) !== false ? choice : defaultAttention(gpu, pass, params);
}
