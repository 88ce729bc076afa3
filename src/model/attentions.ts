/**
 * Attention in one kernel: a small family that computes the same thing, and which of them takes a pass.
 *
 *   broadcastRows  prompts in registers, for CPUs that offer subgroups: eight rows at a time, queries handed round
 *   subgroupKeys   few rows, likewise: the invocations of a subgroup share out the head's dimensions
 *   rows           prompts without workgroup memory, for CPUs: the rows of a workgroup walk the same keys
 *   keys           few rows without much of it, for CPUs: the invocations of a workgroup share out the keys
 *   tiled          prompts on a GPU: tiles of keys and values in workgroup memory
 *   single         few rows on a GPU: a workgroup a (row, head)
 *   split          few rows and many keys on a GPU: several workgroups a (row, head), joined by a second kernel
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
import { type BufferSlice, type Dispatch, foldGrid, type Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { Tile } from "../gpu/unroll.ts";
import { ATTENTION_PARAMS } from "./kernels.ts";
import { elementGrid } from "./ops.ts";
import type { Grid } from "./products.ts";

export type AttentionParam = keyof typeof ATTENTION_PARAMS;

/** Row table, slot table, ALiBi slopes, queries, keys and values; parameters and constants of `attention_shared.wgsl`. */
export type AttentionCall = Omit<Dispatch<AttentionParam>, "workgroups">;

/** One way to compute z [rows, nHeads, dHead], the last buffer, from the others. */
export interface Attention {
  readonly name: string;
  /** Whether the device can run it on heads of that width; without it every device can. */
  fits?(gpu: Gpu, dHead: number): boolean;
  record(recorder: Recorder, call: AttentionCall, z: Tensor): void;
}

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

function attentionOf(
  name: string,
  kernel: (dHead: number, gpu: Gpu) => Kernel<AttentionParam>,
  grid: (gpu: Gpu, params: Readonly<Record<AttentionParam, number>>) => Grid,
): Attention {
  return {
    name,
    record: (recorder, call, z) =>
      recorder.dispatch(kernel(call.params.dHead, recorder.gpu), {
        ...call,
        buffers: [...call.buffers, z],
        workgroups: grid(recorder.gpu, call.params),
      }),
  };
}

const rows = attentionOf(
  "rows",
  (dHead) => kernelFor("rows", [attentionRows], { D4: dHead / 4 }),
  (gpu, { rowCount, nHeads }) => [...foldGrid(gpu, Math.ceil((rowCount * nHeads) / 64)), 1],
);

/** Rows of a block. 16 are up to 1.3 times as fast on lavapipe, no faster on SwiftShader, and take 3 times as long to compile. */
const BROADCAST_ROWS = 8;
/** vec4 of a head that an invocation keeps: more than these compile for many seconds. */
const MOST_PER = 8;
const lanesOf = (gpu: Gpu) => gpu.host.adapterInfo.subgroupMinSize;
const perOf = (gpu: Gpu, dHead: number) => Math.ceil(dHead / 4 / lanesOf(gpu));
const canShare = (gpu: Gpu, dHead: number) =>
  gpu.host.features.has("subgroups") && [4, 8].includes(lanesOf(gpu)) && perOf(gpu, dHead) <= MOST_PER;

const broadcastRows: Attention = {
  ...attentionOf(
    "broadcast rows",
    (dHead, gpu) => {
      const LANES = lanesOf(gpu);
      const [ROWS, SHARE] = [BROADCAST_ROWS, Math.min(BROADCAST_ROWS, LANES)];
      const tile = { ROWS, PARTS: ROWS / SHARE, SHARE, PER: perOf(gpu, dHead), FOUR: 4 };
      return kernelFor("broadcast rows", [attentionBroadcastRows], { D4: dHead / 4, LANES }, tile);
    },
    (_, { rowCount, nHeads }) => [Math.ceil(rowCount / BROADCAST_ROWS), nHeads, 1],
  ),
  fits: canShare,
};

const subgroupKeys: Attention = {
  ...attentionOf(
    "subgroup keys",
    (dHead, gpu) => {
      const sizes = { D4: dHead / 4, LANES: lanesOf(gpu) };
      return kernelFor("subgroup keys", [attentionSubgroupKeys], sizes, { PER: perOf(gpu, dHead), STEP: 2 });
    },
    (gpu, { rowCount, nHeads }) => [...foldGrid(gpu, rowCount * nHeads), 1],
  ),
  fits: canShare,
};

/** Invocations that share out the keys; wide heads have fewer, since each keeps a head's width in workgroup memory. */
const keyLanes = (dHead: number) => (dHead <= 256 ? 8 : 2);

const keys = attentionOf(
  "keys",
  (dHead) => kernelFor("keys", [attentionKeys], { D4: dHead / 4, LANES: keyLanes(dHead) }, { STEP: 4 }),
  (gpu, { rowCount, nHeads }) => [...foldGrid(gpu, rowCount * nHeads), 1],
);

/** vec4 of a slice, and rows of a workgroup: what fits in 16 KB of workgroup memory. */
const TILE4 = 32;
const slicesOf = (dHead: number) => dHead / 4 / headSlice(dHead, TILE4);
const tiledRows = (dHead: number) => (headSlice(dHead, TILE4) > 16 ? 8 : 16);

const tiled = attentionOf(
  "tiled",
  (dHead) => {
    const ROWS = tiledRows(dHead);
    const sizes = { D4: headSlice(dHead, TILE4), ROWS, KEYS: ROWS, SHARE: 64 / ROWS };
    return kernelFor("tiled", [attentionTiled], sizes);
  },
  (_, { rowCount, nHeads, dHead }) => [Math.ceil(rowCount / tiledRows(dHead)), nHeads, slicesOf(dHead)],
);

const single = attentionOf(
  "single",
  () => kernelFor("single", [reduce, attention], {}),
  (gpu, { rowCount, nHeads, dHead }) => [...foldGrid(gpu, rowCount * nHeads), Math.ceil(dHead / 256)],
);

const JOIN = defineKernel({
  name: "attention join",
  sources: attentionJoin,
  bindings: ["read", "write"],
  params: { count: "u32", dHead: "u32", splits: "u32" },
});

/** Keys of a split. */
const SPLIT_KEYS = 256;

const split: Attention = {
  name: "split",
  record(recorder, call, z) {
    const { rowCount, nHeads, dHead, keyCount } = call.params;
    const count = rowCount * nHeads;
    const splits = Math.ceil(keyCount / SPLIT_KEYS);
    const parts = recorder.temp(count, splits, dHead + 2);
    recorder.dispatch(kernelFor("split", [reduce, attentionSplit], { LANES: 64 }), {
      ...call,
      params: { ...call.params, splitKeys: SPLIT_KEYS },
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

/** Every one there is, by name. */
export const ATTENTIONS = { broadcastRows, subgroupKeys, rows, keys, tiled, single, split };

/** Keys from which a GPU splits them: below, one workgroup a (row, head) is done before a second kernel would start. */
const SPLIT_FROM = 1024;
/** Rows of one sequence beside each other, on average, from which walking the keys together pays. */
const LONG_RUN = 3;

/** Which one takes a pass of `rowCount` rows in `runs` runs of one sequence each. */
export function attentionFor(gpu: Gpu, params: Readonly<Record<AttentionParam, number>>, runs: number): Attention {
  const isPrompt = params.rowCount >= LONG_RUN * runs;
  if (gpu.host.adapterInfo.isSoftware) {
    if (canShare(gpu, params.dHead)) return isPrompt ? broadcastRows : subgroupKeys;
    return isPrompt ? rows : keys;
  }
  if (isPrompt) return tiled;
  const fitsGrid = params.rowCount * params.nHeads <= gpu.limits.maxComputeWorkgroupsPerDimension;
  return params.keyCount >= SPLIT_FROM && fitsGrid ? split : single;
}
