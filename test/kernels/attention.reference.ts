/** Attention in float64, one (row, head) after another, keys found through the slot table. */
import { softCapped } from "../../src/ops/activations.ts";
import { alibiBias } from "../../src/ops/attention-reference.ts";

export interface AttentionCase {
  nHeads: number;
  nKvHeads: number;
  dHead: number;
  /** [row, (sequence, position, slot, token)] */
  rowTable: Uint32Array;
  /** [sequence, slotStride] */
  slotTable: Uint32Array;
  slotStride: number;
  /** Rows of `queryStride`, heads first. */
  queries: Float32Array;
  queryStride: number;
  /** [slot, nKvHeads, dHead] */
  keys: Float32Array;
  values: Float32Array;
  window: number | null;
  /** In place of a window: a query sees the keys of its chunk up to itself. */
  chunk?: number | undefined;
  /** Length of each sequence where a query sees the keys after it; absent where it does not. */
  lengths?: readonly number[] | undefined;
  scale: number;
  softCap: number | null;
  slopes: number[] | null;
  /** ALiBi rounded to bfloat16, times this. */
  alibiScale?: number | undefined;
  /** One score a head more in the softmax, without a value. */
  sinks?: readonly number[] | null;
}

export interface AttentionResult {
  /** For each (row, head) the score of each visible key, by position. */
  scores: Map<number, number>[];
  patterns: Map<number, number>[];
  /** [row, nHeads, dHead] */
  z: Float64Array;
}

export function attentionReference(test: AttentionCase): AttentionResult {
  const { nHeads, nKvHeads, dHead, rowTable, values } = test;
  const rows = rowTable.length / 4;
  const result: AttentionResult = { scores: [], patterns: [], z: new Float64Array(rows * nHeads * dHead) };
  for (let rowHead = 0; rowHead < rows * nHeads; rowHead++) {
    const row = Math.floor(rowHead / nHeads);
    const head = rowHead % nHeads;
    const scores = new Map<number, number>();
    const position = rowTable[4 * row + 1] as number;
    const end = test.lengths?.[rowTable[4 * row] as number] ?? position + 1;
    for (let key = 0; key < end; key++) {
      const distance = Math.abs(position - key);
      const isInChunk = test.chunk === undefined || Math.floor(key / test.chunk) === Math.floor(position / test.chunk);
      if (isInChunk && (test.window === null || distance < test.window)) scores.set(key, scoreOf(test, row, head, key));
    }
    const sink = test.sinks?.[head] ?? Number.NEGATIVE_INFINITY;
    const largest = Math.max(sink, ...scores.values());
    const total = [...scores.values()].reduce(
      (sum, score) => sum + Math.exp(score - largest),
      Math.exp(sink - largest),
    );
    const pattern = new Map([...scores].map(([key, score]) => [key, Math.exp(score - largest) / total]));
    for (const [key, probability] of pattern) {
      const at = kvOffset(test, row, head, key);
      for (let d = 0; d < dHead; d++) {
        const old = result.z[rowHead * dHead + d] as number;
        result.z[rowHead * dHead + d] = old + probability * (values[at + d] as number);
      }
    }
    result.scores.push(scores);
    result.patterns.push(pattern);
  }
  return result;

  function scoreOf(
    { queries, queryStride, keys, scale, softCap, slopes }: AttentionCase,
    row: number,
    head: number,
    key: number,
  ) {
    const at = kvOffset(test, row, head, key);
    let product = 0;
    for (let d = 0; d < dHead; d++) {
      product += (queries[row * queryStride + head * dHead + d] as number) * (keys[at + d] as number);
    }
    const score = softCapped(product * scale, softCap);
    return slopes ? score + alibiBias(test, slopes[head] as number, key, rowTable[4 * row + 1] as number) : score;
  }

  function kvOffset({ slotTable, slotStride }: AttentionCase, row: number, head: number, key: number): number {
    const slot = slotTable[(rowTable[4 * row] as number) * slotStride + key] as number;
    const queriesPerKey = nHeads / nKvHeads;
    return (slot * nKvHeads + Math.floor(head / queriesPerKey)) * dHead;
  }
}
