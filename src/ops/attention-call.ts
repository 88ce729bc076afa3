/** What the ops of attention say of themselves, and the call that their kernels share. */
import type { AttentionCall } from "../kernels/attention-steps.ts";
import type { View } from "../kernels/view.ts";
import { cacheBuffers } from "./bindings.ts";
import type { Lowering, WeightRef } from "./op.ts";
import type { RowTable } from "./rows.ts";

export interface AttentionAttributes {
  readonly layer: number;
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly dHead: number;
  readonly scale: number;
  readonly softCap: number | null;
  /** A query at p sees keys p-window+1 .. p, without causality .. p+window-1; null: all keys up to p, or all. */
  readonly window: number | null;
  /** A query at p sees the keys of its chunk up to p, from p - p mod chunk on; there is no window then. */
  readonly chunk?: number | undefined;
  readonly causal: boolean;
  readonly alibi: boolean;
  /** What ALiBi adds is slope * key rounded to bfloat16, times this; without it slope * (key - query). */
  readonly alibiScale?: number | undefined;
  /** A score a head beside those of its keys, of a key without a value; models with ALiBi have none. */
  readonly sinks?: WeightRef | undefined;
}

/** The call that all attention kernels share; `queries` are missing where an op does not read them. */
export function attentionCall(
  { recorder, attributes, rows, rowTable, weights, bindings }: Lowering<AttentionAttributes>,
  queries?: View,
): AttentionCall {
  const { layer, nHeads, nKvHeads, dHead, scale, softCap, window, chunk, causal } = attributes;
  const { slotTable, slotStride, keyCount, alibi } = bindings;
  const { keys, values } = cacheBuffers(bindings, layer);
  const { zeros } = recorder.gpu;
  const constants: Record<string, number> = {};
  if (!causal) constants.CAUSAL = 0;
  if (chunk !== undefined) constants.CHUNKED = 1;
  if (alibi) constants.HAS_ALIBI = 1;
  if (attributes.alibiScale !== undefined) constants.ALIBI_SCALE = attributes.alibiScale;
  if (softCap) constants.HAS_SOFT_CAP = 1;
  const sinks = weights.vector(attributes.sinks);
  if (sinks) constants.HAS_SINKS = 1;
  return {
    params: {
      rowCount: rows.count,
      nHeads,
      nKvHeads,
      dHead,
      queryStride: queries?.rowStride ?? 0,
      slotStride,
      window: chunk ?? window ?? 0,
      keyCount,
      scale,
      softCap: softCap ?? 0,
      splitKeys: 0,
      gradStart: 0,
      gradStride: 0,
    },
    work: { operations: 4 * keysSeen(attributes, rows, keyCount) * nHeads * dHead },
    buffers: {
      rowTable,
      slotTable,
      headNumbers: sinks ?? alibi ?? zeros,
      queries: queries?.buffer ?? zeros,
      keys,
      values,
    },
    constants,
  };
}

/** Keys that all rows see together; without causality, if every sequence were as long as the longest. */
function keysSeen({ window, chunk, causal }: AttentionAttributes, rows: RowTable, keyCount: number): number {
  if (chunk !== undefined) return rows.keysInChunks(chunk);
  if (causal) return rows.keysSeen(window);
  return rows.count * Math.min(keyCount, window === null ? keyCount : 2 * window - 1);
}
