/** Attention backwards without scores or pattern in memory: statistics of each query, then queries' gradients, and keys' and values'. */
import gradientShared from "../../shaders/attention_gradient.wgsl";
import keyGradientSource from "../../shaders/attention_key_gradient.wgsl";
import attentionParams from "../../shaders/attention_params.wgsl";
import queryGradientSource from "../../shaders/attention_query_gradient.wgsl";
import attentionSlots from "../../shaders/attention_slots.wgsl";
import statisticsSource from "../../shaders/attention_statistics.wgsl";
import { defineKernel } from "../gpu/kernel.ts";
import type { BufferSlice, Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { AttentionCall } from "./attention-steps.ts";
import { ATTENTION_PARAMS } from "./definitions.ts";

/** Rows of a block: what a workgroup takes. */
export const BLOCK_ROWS = 16;

/** The widest heads of which tiles fit into 16 KB of workgroup memory. */
export const WIDEST_TILED_HEAD = 256;

type Kernels = ReturnType<typeof gradientKernels>;

/** The kernels for one width of heads. On CPUs one invocation has a row alone: barriers cost most there. */
export function gradientKernels(dHead: number, isSoftware: boolean) {
  const D4 = dHead / 4;
  const TILE = D4 <= 16 ? 16 : D4 <= 32 ? 8 : 4;
  const sizes = { D4, TILE, ROWS: BLOCK_ROWS, SHARE: isSoftware ? 1 : TILE / 4 };
  const name = (what: string) => `attention ${what} ${Object.values(sizes).join(" ")}`;
  return {
    statistics: defineKernel({
      name: name("statistics"),
      sources: [attentionParams, attentionSlots, gradientShared, statisticsSource],
      sizes,
      params: ATTENTION_PARAMS,
      bindings: {
        rows: "read",
        slotTable: "read",
        alibiSlopes: "read",
        queries: "read",
        keys: "read",
        dz: "read",
        z: "read",
        statistics: "write",
      },
    }),
    queries: defineKernel({
      name: name("query gradient"),
      sources: [attentionParams, attentionSlots, gradientShared, queryGradientSource],
      sizes,
      params: ATTENTION_PARAMS,
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
      name: name("key gradient"),
      sources: [attentionParams, gradientShared, keyGradientSource],
      sizes,
      params: ATTENTION_PARAMS,
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

const made = new Map<string, Kernels>();

/** Made when first asked for. */
function kernelsFor({ gpu }: Recorder, dHead: number): Kernels {
  const { isSoftware } = gpu.host.adapterInfo;
  const key = `${dHead} ${isSoftware}`;
  const kernels = made.get(key) ?? gradientKernels(dHead, isSoftware);
  made.set(key, kernels);
  return kernels;
}

/** Rows of one sequence, `BLOCK_ROWS` a block, as the shaders' tables have them. */
export interface Blocks {
  readonly count: number;
  readonly table: Tensor;
}

/** (log of the sum of exp(score), sum of pattern * dPattern, ALiBi slope, position) [rows, nHeads]. */
export function attentionStatistics(
  recorder: Recorder,
  { params, constants = {}, buffers }: AttentionCall,
  rows: Blocks,
  { dz, z }: { dz: BufferSlice; z: BufferSlice },
  statistics: BufferSlice,
): void {
  const { slotTable, alibiSlopes, queries, keys } = buffers;
  recorder.dispatch(kernelsFor(recorder, params.dHead).statistics, {
    params,
    constants,
    buffers: { rows: rows.table, slotTable, alibiSlopes, queries, keys, dz, z, statistics },
    workgroups: [rows.count, params.nHeads],
  });
}

/** dq [rows, nHeads, dHead]. */
export function queryGradient(
  recorder: Recorder,
  { params, constants = {}, buffers }: AttentionCall,
  rows: Blocks,
  { dz, statistics }: { dz: BufferSlice; statistics: BufferSlice },
  dq: BufferSlice,
): void {
  const { slotTable, queries, keys, values } = buffers;
  recorder.dispatch(kernelsFor(recorder, params.dHead).queries, {
    params,
    constants,
    buffers: { rows: rows.table, slotTable, statistics, queries, keys, values, dz, dq },
    workgroups: [rows.count, params.nHeads],
  });
}

/** dk and dv [key rows, nKvHeads, dHead], side by side in the rows of `out`. */
export function keyGradient(
  recorder: Recorder,
  { params, constants = {}, buffers }: AttentionCall,
  keyRows: Blocks,
  { dz, statistics }: { dz: BufferSlice; statistics: BufferSlice },
  out: BufferSlice,
): void {
  const { queries, keys, values } = buffers;
  recorder.dispatch(kernelsFor(recorder, params.dHead).keys, {
    params,
    constants,
    buffers: { keyRows: keyRows.table, statistics, queries, keys, values, dz, out },
    workgroups: [keyRows.count, params.nKvHeads],
  });
}
