/**
 * Attention backwards, a tile at a time: three ops, between which nothing lies that is as wide as the keys. With statistics of
 * each query, the log of the sum of its exp(score) and the sum of pattern * dPattern, queries and keys go their own ways:
 *
 *   pattern = exp(score - log sum)          dPattern = dz · v          dScore = pattern (dPattern - sum)
 *   dq = scale * sum over keys of dScore k                    dk = scale * sum over queries of dScore q
 *                                                             dv = sum over queries of pattern dz
 *
 * with the slope of the soft cap between dScore and the products.
 */
import {
  attentionStatistics,
  type Blocks,
  keyGradient,
  queryGradient,
  wayOf,
} from "../kernels/attention-tile-gradients.ts";
import type { View } from "../kernels/view.ts";
import { softCapped } from "./activations.ts";
import { blocksOf, queriesOf } from "./attention-blocks.ts";
import { type AttentionAttributes, attentionCall } from "./attention-call.ts";
import { alibiBias, eachRowHead, keyCountOf, scoresOf, sinksOf } from "./attention-reference.ts";
import { defineOp, type Lowering, type ReferenceCall } from "./op.ts";
import type { RowTable } from "./rows.ts";

function dot(x: Float64Array, first: number, y: Float64Array, second: number, width: number): number {
  let sum = 0;
  for (let d = 0; d < width; d++) sum += (x[first * width + d] as number) * (y[second * width + d] as number);
  return sum;
}

/** Inputs q, keys, values and dz. Of each query (log sum, sum of pattern * dPattern, ALiBi slope, position). */
export const ATTENTION_STATISTICS = defineOp<AttentionAttributes>({
  name: "attentionStatistics",
  formula: "log sum exp(scores), pattern · (dz · v), slope, position",
  shapes: (_, { nHeads }) => [{ heads: nHeads, width: 4 }],
  acrossRows: [1, 2],
  reference(call) {
    const { attributes, rows, pass } = call;
    const [, , v, dz] = call.inputs as readonly Float64Array[] as [unknown, unknown, Float64Array, Float64Array];
    const { nHeads, nKvHeads, dHead, alibi } = attributes;
    const keyCount = keyCountOf(call.inputRows[1] as RowTable);
    const scores = scoresOf(call, keyCount);
    const sinkOf = sinksOf(call);
    const out = new Float64Array(rows.count * nHeads * 4);
    eachRowHead(call, (rowHead, keys, kvHead) => {
      const own = scores.subarray(rowHead * keyCount, (rowHead + 1) * keyCount);
      const sink = sinkOf(rowHead);
      const largest = own.reduce((most, score) => Math.max(most, score), sink);
      const weightOf = (position: number) => Math.exp((own[position] as number) - largest);
      const total = keys.reduce((sum, { position }) => sum + weightOf(position), Math.exp(sink - largest));
      const along = keys.reduce(
        (sum, { row, position }) => sum + weightOf(position) * dot(dz, rowHead, v, row * nKvHeads + kvHead, dHead),
        0,
      );
      const slope = alibi ? (pass.slopes?.[rowHead % nHeads] as number) : 0;
      out.set(
        [largest + Math.log(total), along / total, slope, rows.position(Math.floor(rowHead / nHeads))],
        4 * rowHead,
      );
    });
    return [out];
  },
  lower(call) {
    const [q, , , dz] = call.inputs as [View, View, View, View];
    const out = (call.outputs[0] as View).buffer;
    attentionStatistics(call.recorder, attentionCall(call, q), queryBlocks(call, 0), dz.buffer, out);
  },
});

/** Inputs q, keys, values, dz and the statistics. */
export const QUERY_GRADIENT = defineOp<AttentionAttributes>({
  name: "queryGradient",
  formula: "dScores k",
  shapes: (_, { nHeads, dHead }) => [{ heads: nHeads, width: dHead }],
  acrossRows: [1, 2],
  writesViews: true,
  reference(call) {
    const { nHeads, dHead } = call.attributes;
    const out = new Float64Array(call.rows.count * nHeads * dHead);
    eachWeight(call, ({ query, key, dScore }) => addTo(out, query, dScore, call.inputs[1] as Float64Array, key, dHead));
    return [out];
  },
  lower(call) {
    const [q, , , dz, statistics] = call.inputs as [View, View, View, View, View];
    const grads = { dz: dz.buffer, statistics: statistics.buffer };
    queryGradient(call.recorder, attentionCall(call, q), queryBlocks(call, 0), grads, call.outputs[0] as View);
  },
});

/** Inputs q, keys, values, dz and the statistics; the gradients of keys and of values, which have the keys' rows. */
export const KEY_GRADIENT = defineOp<AttentionAttributes>({
  name: "keyGradient",
  formula: "dScores q, pattern dz, summed over queries and heads",
  shapes: (_, { nKvHeads, dHead }) => [
    { heads: nKvHeads, width: dHead },
    { heads: nKvHeads, width: dHead },
  ],
  acrossRows: [0, 3, 4],
  writesViews: true,
  reference(call) {
    const { nKvHeads, dHead } = call.attributes;
    const dk = new Float64Array(call.rows.count * nKvHeads * dHead);
    const dv = new Float64Array(dk.length);
    eachWeight(call, ({ query, key, pattern, dScore }) => {
      addTo(dk, key, dScore, call.inputs[0] as Float64Array, query, dHead);
      addTo(dv, key, pattern, call.inputs[3] as Float64Array, query, dHead);
    });
    return [dk, dv];
  },
  lower(call) {
    const [q, , , dz, statistics] = call.inputs as [View, View, View, View, View];
    const grads = { dz: dz.buffer, statistics: statistics.buffer };
    // Outputs lie side by side.
    keyGradient(call.recorder, attentionCall(call, q), keyBlocks(call), grads, call.outputs[0] as View);
  },
});

/** A query and a key that it sees, as numbers of vectors, with the pattern and the gradient of q·k. */
interface Weight {
  readonly query: number;
  readonly key: number;
  readonly pattern: number;
  readonly dScore: number;
}

function eachWeight(call: ReferenceCall<AttentionAttributes>, visit: (weight: Weight) => void): void {
  const { attributes, inputs, inputRows } = call;
  const [q, k, v, dz, statistics] = inputs as readonly Float64Array[] as [
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
  ];
  const { nKvHeads, dHead, scale, softCap } = attributes;
  eachRowHead({ ...call, rows: inputRows[0] as RowTable }, (query, keys, kvHead) => {
    const [logSum = 0, along = 0, slope = 0, at = 0] = statistics.subarray(4 * query, 4 * query + 4);
    for (const { row, position } of keys) {
      const key = row * nKvHeads + kvHead;
      const capped = softCapped(scale * dot(q, query, k, key, dHead), softCap);
      const pattern = Math.exp(capped + alibiBias(attributes, slope, position, at) - logSum);
      const capSlope = softCap ? 1 - (capped / softCap) ** 2 : 1;
      const dScore = scale * capSlope * pattern * (dot(dz, query, v, key, dHead) - along);
      visit({ query, key, pattern, dScore });
    }
  });
}

/** Adds `factor` times a vector of `x` to one of `out`. */
function addTo(out: Float64Array, to: number, factor: number, x: Float64Array, from: number, width: number): void {
  for (let d = 0; d < width; d++)
    out[to * width + d] = (out[to * width + d] as number) + factor * (x[from * width + d] as number);
}

/** Tables that the layers of a pass share. */
const uploaded = new WeakMap<Lowering<never>["recorder"], WeakMap<RowTable, Map<string, Blocks>>>();

/** An entry of a table for each row: so many numbers, one of which says whether the row is real. */
interface Entries {
  readonly size: number;
  readonly realAt: number;
  of(row: number): readonly number[];
}

/** The blocks of some rows; those that are not full repeat their last row, which is not real then. */
function blocks(
  { recorder, attributes }: Pick<Lowering<AttentionAttributes>, "recorder" | "attributes">,
  rows: RowTable,
  kind: string,
  entries: () => Entries,
): Blocks {
  const ofPass = uploaded.get(recorder) ?? new WeakMap<RowTable, Map<string, Blocks>>();
  uploaded.set(recorder, ofPass);
  const ofRows = ofPass.get(rows) ?? new Map<string, Blocks>();
  ofPass.set(rows, ofRows);
  const known = ofRows.get(kind);
  if (known) return known;
  const perBlock = wayOf(recorder.gpu.host, attributes.dHead).rows;
  const all = blocksOf(rows, perBlock);
  const made = { count: all.length, table: recorder.upload(tableOf(all, perBlock, entries())) };
  ofRows.set(kind, made);
  return made;
}

function tableOf(all: ReturnType<typeof blocksOf>, perBlock: number, { size, realAt, of }: Entries): Uint32Array {
  const table = new Uint32Array(all.length * perBlock * size);
  let at = 0;
  for (const { first, count } of all) {
    for (let i = 0; i < perBlock; i++, at += size) {
      if (i < count) table.set(of(first + i), at);
      else table.copyWithin(at, at - size, at);
      table[at + realAt] = i < count ? 1 : 0;
    }
  }
  return table;
}

/** (row, sequence, position, whether it is real). */
function queryBlocks(call: Lowering<AttentionAttributes>, input: number): Blocks {
  const { rows } = call.inputRows(input);
  const of = (row: number) => [row, rows.sequence(row), rows.position(row), 1];
  return blocks(call, rows, "queries", () => ({ size: 4, realAt: 3, of }));
}

/** (row, whether it is real, slot, position, first and end of the query rows). */
function keyBlocks(call: Lowering<AttentionAttributes>): Blocks {
  const { rows, attributes } = call;
  const queries = call.inputRows(0).rows;
  return blocks(call, rows, `keys of ${queries.count} queries ${attributes.causal}`, () => {
    const rangeOf = queriesOf(queries, attributes);
    const of = (row: number) => {
      const position = rows.position(row);
      const [first, end] = rangeOf(rows.sequence(row), position);
      return [row, 1, rows.slot(row), position, first, end];
    };
    return { size: 6, realAt: 1, of };
  });
}
