/**
 * Attention backwards without scores or pattern in memory: statistics of each query, then queries' gradients, and keys' and
 * values'. By tiles in workgroup memory on GPUs; on CPUs, where barriers cost most, by outer products of a subgroup's registers.
 */
import gradientShared from "../../shaders/attention_gradient.wgsl";
import gradientTile from "../../shaders/attention_gradient_tile.wgsl";
import keyGradientBroadcast from "../../shaders/attention_key_gradient_broadcast.wgsl";
import keyGradientLanes from "../../shaders/attention_key_gradient_lanes.wgsl";
import keyGradientTile from "../../shaders/attention_key_gradient_tile.wgsl";
import keyRowsSource from "../../shaders/attention_key_rows.wgsl";
import attentionParams from "../../shaders/attention_params.wgsl";
import queryGradientBroadcast from "../../shaders/attention_query_gradient_broadcast.wgsl";
import queryGradientLanes from "../../shaders/attention_query_gradient_lanes.wgsl";
import queryGradientTile from "../../shaders/attention_query_gradient_tile.wgsl";
import attentionSlots from "../../shaders/attention_slots.wgsl";
import statisticsBroadcast from "../../shaders/attention_statistics_broadcast.wgsl";
import statisticsLanes from "../../shaders/attention_statistics_lanes.wgsl";
import statisticsTile from "../../shaders/attention_statistics_tile.wgsl";
import { defineKernel } from "../gpu/kernel.ts";
import type { BufferSlice, Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { Tile } from "../gpu/unroll.ts";
import { WIDEST_UNROLLED } from "./attention.ts";
import type { AttentionCall } from "./attention-steps.ts";
import { ATTENTION_PARAMS } from "./definitions.ts";
import type { DeviceFacts } from "./family.ts";
import type { View } from "./view.ts";

/** The widest heads of which tiles fit into 16 KB of workgroup memory. */
export const WIDEST_TILED_HEAD = 256;

/** How the kernels divide the work: `rows` to a workgroup. */
export interface GradientWay {
  readonly name: string;
  readonly rows: number;
  readonly shared: readonly string[];
  readonly sources: { readonly statistics: string; readonly queries: string; readonly keys: string };
  readonly sizes: Tile;
  readonly tile: Tile;
}

const TILE_SOURCES = { statistics: statisticsTile, queries: queryGradientTile, keys: keyGradientTile };
const BROADCAST_SOURCES = {
  statistics: statisticsBroadcast,
  queries: queryGradientBroadcast,
  keys: keyGradientBroadcast,
};

const LANES_SOURCES = { statistics: statisticsLanes, queries: queryGradientLanes, keys: keyGradientLanes };

/** By tiles. On CPUs an invocation has a row alone. */
export function byTiles(dHead: number, isSoftware: boolean): GradientWay {
  const D4 = dHead / 4;
  const TILE = D4 <= 16 ? 16 : D4 <= 32 ? 8 : 4;
  const sizes = { D4, TILE, ROWS: 16, SHARE: isSoftware ? 1 : TILE / 4 };
  return { name: "by tiles", rows: sizes.ROWS, shared: [gradientTile], sources: TILE_SOURCES, sizes, tile: {} };
}

/** By subgroups of `lanes` invocations, with a block of rows in registers. */
export function byBroadcast(dHead: number, lanes: number): GradientWay {
  const [ROWS, D4] = [8, dHead / 4];
  const tile = { ROWS, PARTS: ROWS / lanes, SHARE: lanes, PER: Math.ceil(D4 / lanes), FOUR: 4 };
  const sizes = { D4, LANES: lanes };
  return { name: "by subgroups", rows: ROWS, shared: [], sources: BROADCAST_SOURCES, sizes, tile };
}

/** By subgroups of `lanes` invocations, of which each keeps four rows. */
export function byLanes(dHead: number, lanes: number): GradientWay {
  const tile = { D4: dHead / 4, SHARE: lanes, FOUR: 4 };
  return { name: "by lanes", rows: 4 * lanes, shared: [], sources: LANES_SOURCES, sizes: { LANES: lanes }, tile };
}

/** vec4 of a head that an invocation keeps at most: with more the kernels compile for many seconds. */
const MOST_PER = 4;

export function wayOf({ adapterInfo, features }: DeviceFacts, dHead: number): GradientWay {
  const { isSoftware, subgroupMinSize: lanes } = adapterInfo;
  const canShare = features.has("subgroups") && (lanes === 4 || lanes === 8) && dHead / 4 <= MOST_PER * lanes;
  if (!isSoftware || !canShare) return byTiles(dHead, isSoftware);
  return dHead <= WIDEST_UNROLLED ? byLanes(dHead, lanes) : byBroadcast(dHead, lanes);
}

/** The kernels of one way. */
export function gradientKernels({ name, shared, sources, sizes, tile }: GradientWay) {
  const full = (what: string) => ["attention", what, name, ...Object.values({ ...sizes, ...tile })].join(" ");
  const joined = (...parts: readonly string[]) => [attentionParams, gradientShared, ...shared, ...parts];
  const common = { sizes, tile, params: ATTENTION_PARAMS };
  return {
    statistics: defineKernel({
      ...common,
      name: full("statistics"),
      sources: joined(attentionSlots, sources.statistics),
      bindings: {
        rows: "read",
        slotTable: "read",
        headNumbers: "read",
        queries: "read",
        keys: "read",
        values: "read",
        dz: "read",
        statistics: "write",
      },
    }),
    queries: defineKernel({
      ...common,
      name: full("query gradient"),
      sources: joined(attentionSlots, sources.queries),
      bindings: {
        rows: "read",
        slotTable: "read",
        statistics: "read",
        queries: "read",
        keys: "read",
        values: "read",
        dz: "read",
        dq: "write",
      },
    }),
    keys: defineKernel({
      ...common,
      name: full("key gradient"),
      sources: joined(keyRowsSource, sources.keys),
      bindings: {
        keyRows: "read",
        statistics: "read",
        queries: "read",
        keys: "read",
        values: "read",
        dz: "read",
        out: "write",
      },
    }),
  };
}

const made = new Map<string, ReturnType<typeof gradientKernels>>();

/** Made when first asked for. */
function kernelsFor({ gpu }: Recorder, dHead: number) {
  const way = wayOf(gpu.host, dHead);
  const key = [way.name, ...Object.values({ ...way.sizes, ...way.tile })].join(" ");
  const kernels = made.get(key) ?? gradientKernels(way);
  made.set(key, kernels);
  return kernels;
}

/** Rows of one sequence, so many a block as a workgroup takes, as the shaders' tables have them. */
export interface Blocks {
  readonly count: number;
  readonly table: Tensor;
}

/** (log of the sum of exp(score), sum of pattern * dPattern, ALiBi slope, position) [rows, nHeads]. */
export function attentionStatistics(
  recorder: Recorder,
  { params, constants = {}, buffers }: AttentionCall,
  rows: Blocks,
  dz: BufferSlice,
  statistics: BufferSlice,
): void {
  const { slotTable, headNumbers, queries, keys, values } = buffers;
  recorder.dispatch(kernelsFor(recorder, params.dHead).statistics, {
    params,
    constants,
    buffers: { rows: rows.table, slotTable, headNumbers, queries, keys, values, dz, statistics },
    workgroups: [rows.count, params.nHeads],
  });
}

/** dq [rows, nHeads, dHead], where the view says. */
export function queryGradient(
  recorder: Recorder,
  { params, constants = {}, buffers }: AttentionCall,
  rows: Blocks,
  { dz, statistics }: { dz: BufferSlice; statistics: BufferSlice },
  dq: View,
): void {
  const { slotTable, queries, keys, values } = buffers;
  recorder.dispatch(kernelsFor(recorder, params.dHead).queries, {
    params: { ...params, gradStart: dq.start, gradStride: dq.rowStride },
    constants,
    buffers: { rows: rows.table, slotTable, statistics, queries, keys, values, dz, dq: dq.buffer },
    workgroups: [rows.count, params.nHeads],
  });
}

/** dk and dv [key rows, nKvHeads, dHead], dv behind dk in each row. */
export function keyGradient(
  recorder: Recorder,
  { params, constants = {}, buffers }: AttentionCall,
  keyRows: Blocks,
  { dz, statistics }: { dz: BufferSlice; statistics: BufferSlice },
  dk: View,
): void {
  const { queries, keys, values } = buffers;
  recorder.dispatch(kernelsFor(recorder, params.dHead).keys, {
    params: { ...params, gradStart: dk.start, gradStride: dk.rowStride },
    constants,
    buffers: { keyRows: keyRows.table, statistics, queries, keys, values, dz, out: dk.buffer },
    workgroups: [keyRows.count, params.nKvHeads],
  });
}
