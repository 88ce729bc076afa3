/**
 * Attention: scores of queries and keys, their softmax, and the values mixed by it; and the three in one step, which never
 * writes the scores. Keys and values are read from the cache by slot, so rows of this pass and of earlier ones look alike.
 */
import { ATTENTION_FAMILY } from "../kernels/attention.ts";
import { type AttentionCall, attentionMix, attentionScores, attentionSoftmax } from "../kernels/attention-steps.ts";
import type { View } from "../kernels/view.ts";
import { softCapped } from "./activations.ts";
import { visibleKeys } from "./attention-reference.ts";
import { cacheBuffers } from "./bindings.ts";
import { defineOp, type Lowering, type ReferenceCall } from "./op.ts";
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
  readonly causal: boolean;
  readonly alibi: boolean;
}

/** The call that all attention kernels share; `queries` are missing where an op does not read them. */
function attentionCall(
  { recorder, attributes, rows, rowTable, bindings }: Lowering<AttentionAttributes>,
  queries?: View,
): AttentionCall {
  const { layer, nHeads, nKvHeads, dHead, scale, softCap, window, causal } = attributes;
  const { slotTable, slotStride, keyCount, alibi } = bindings;
  const { keys, values } = cacheBuffers(bindings, layer);
  const { zeros } = recorder.gpu;
  const constants: Record<string, number> = {};
  if (!causal) constants.CAUSAL = 0;
  if (alibi) constants.HAS_ALIBI = 1;
  if (softCap) constants.HAS_SOFT_CAP = 1;
  return {
    params: {
      rowCount: rows.count,
      nHeads,
      nKvHeads,
      dHead,
      queryStride: queries?.rowStride ?? 0,
      slotStride,
      window: window ?? 0,
      keyCount,
      scale,
      softCap: softCap ?? 0,
      splitKeys: 0,
    },
    work: { operations: 4 * keysSeen(attributes, rows, keyCount) * nHeads * dHead },
    buffers: { rowTable, slotTable, alibiSlopes: alibi ?? zeros, queries: queries?.buffer ?? zeros, keys, values },
    constants,
  };
}

/** Keys that all rows see together; without causality, if every sequence were as long as the longest. */
function keysSeen({ window, causal }: AttentionAttributes, rows: RowTable, keyCount: number): number {
  if (causal) return rows.keysSeen(window);
  return rows.count * Math.min(keyCount, window === null ? keyCount : 2 * window - 1);
}

/** Calls `visit` for each (row, head) with the rows of the keys that it sees, and the key-value head it reads. */
function eachRowHead(
  { attributes, rows, inputRows }: ReferenceCall<AttentionAttributes>,
  visit: (rowHead: number, keys: readonly { row: number; position: number }[], kvHead: number) => void,
): void {
  const { nHeads, nKvHeads } = attributes;
  const stored = inputRows[1] as RowTable;
  for (let row = 0; row < rows.count; row++) {
    const keys = visibleKeys(attributes, rows.sequence(row), rows.position(row), stored);
    for (let head = 0; head < nHeads; head++) {
      visit(row * nHeads + head, keys, Math.floor((head * nKvHeads) / nHeads));
    }
  }
}

function scoresOf(call: ReferenceCall<AttentionAttributes>, keyCount: number): Float64Array {
  const [q, k] = call.inputs as [Float64Array, Float64Array];
  const { nHeads, nKvHeads, dHead, scale, softCap } = call.attributes;
  const out = new Float64Array(call.rows.count * nHeads * keyCount).fill(Number.NEGATIVE_INFINITY);
  eachRowHead(call, (rowHead, keys, kvHead) => {
    const slope = call.attributes.alibi ? (call.pass.slopes?.[rowHead % nHeads] as number) : 0;
    const position = call.rows.position(Math.floor(rowHead / nHeads));
    for (const key of keys) {
      let product = 0;
      for (let d = 0; d < dHead; d++) {
        product += (q[rowHead * dHead + d] as number) * (k[(key.row * nKvHeads + kvHead) * dHead + d] as number);
      }
      // Press et al. 2022 (arXiv 2108.12409): minus slope times the distance.
      out[rowHead * keyCount + key.position] = softCapped(product * scale, softCap) - slope * (position - key.position);
    }
  });
  return out;
}

/** Softmax of runs of `width`. */
function softmaxOf(scores: Float64Array, width: number): Float64Array {
  const out = new Float64Array(scores.length);
  for (let start = 0; start < scores.length; start += width) {
    const row = scores.subarray(start, start + width);
    const largest = row.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
    const total = row.reduce((sum, value) => sum + Math.exp(value - largest), 0);
    out.set(
      row.map((value) => Math.exp(value - largest) / total),
      start,
    );
  }
  return out;
}

function mixOf(
  call: ReferenceCall<AttentionAttributes>,
  pattern: Float64Array,
  v: Float64Array,
  keyCount: number,
): Float64Array {
  const { nHeads, nKvHeads, dHead } = call.attributes;
  const out = new Float64Array(call.rows.count * nHeads * dHead);
  eachRowHead(call, (rowHead, keys, kvHead) => {
    for (const { row, position } of keys) {
      const weight = pattern[rowHead * keyCount + position] as number;
      for (let d = 0; d < dHead; d++) {
        out[rowHead * dHead + d] =
          (out[rowHead * dHead + d] as number) + weight * (v[(row * nKvHeads + kvHead) * dHead + d] as number);
      }
    }
  });
  return out;
}

export const SCORES = defineOp<AttentionAttributes>({
  name: "scores",
  formula: "softCap(q·k * scale) + ALiBi; -inf where the query cannot see",
  shapes: (_, { nHeads }) => [{ heads: nHeads, width: "keys" }],
  acrossRows: [1],
  reference: (call) => [scoresOf(call, call.outputShapes[0]?.width as number)],
  lower(call) {
    attentionScores(call.recorder, attentionCall(call, call.inputs[0]), (call.outputs[0] as View).buffer);
  },
});

export const SOFTMAX = defineOp<AttentionAttributes>({
  name: "softmax",
  formula: "softmax(scores)",
  shapes: (_, { nHeads }) => [{ heads: nHeads, width: "keys" }],
  inPlace: () => [0],
  reference: ({ inputs: [scores], inputShapes: [shape] }) => [
    softmaxOf(scores as Float64Array, shape?.width as number),
  ],
  lower(call) {
    attentionSoftmax(call.recorder, attentionCall(call), (call.outputs[0] as View).buffer);
  },
});

export const MIX = defineOp<AttentionAttributes>({
  name: "mix",
  formula: "pattern v",
  shapes: (_, { nHeads, dHead }) => [{ heads: nHeads, width: dHead }],
  acrossRows: [1],
  reference: (call) => [
    mixOf(call, call.inputs[0] as Float64Array, call.inputs[1] as Float64Array, call.inputShapes[0]?.width as number),
  ],
  lower(call) {
    attentionMix(call.recorder, attentionCall(call), (call.inputs[0] as View).buffer, (call.outputs[0] as View).buffer);
  },
});

/** q, keys and values to z. Made by fusion. */
export const ATTENTION = defineOp<AttentionAttributes>({
  name: "attention",
  formula: "softmax(scores(q, k)) v",
  shapes: (_, { nHeads, dHead }) => [{ heads: nHeads, width: dHead }],
  acrossRows: [1, 2],
  reference(call) {
    const keyCount =
      1 +
      Math.max(
        ...Array.from({ length: (call.inputRows[1] as RowTable).count }, (_, row) =>
          (call.inputRows[1] as RowTable).position(row),
        ),
      );
    return [mixOf(call, softmaxOf(scoresOf(call, keyCount), keyCount), call.inputs[2] as Float64Array, keyCount)];
  },
  lower(call) {
    const attention = attentionCall(call, call.inputs[0]);
    const kernel = ATTENTION_FAMILY.choose(call.recorder, { ...attention.params, runs: call.rows.runs });
    kernel.record(call.recorder, attention, (call.outputs[0] as View).buffer);
  },
});
