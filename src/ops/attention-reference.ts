/** Attention and rotation in float64, one (row, head) after another, keys found through the slot table. */
import { softCapped } from "./activations.ts";
import type { RowTable } from "./rows.ts";

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
  /** Length of each sequence where a query sees the keys after it; absent where it does not. */
  lengths?: readonly number[] | undefined;
  scale: number;
  softCap: number | null;
  slopes: number[] | null;
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
      if (test.window === null || distance < test.window) scores.set(key, scoreOf(test, row, head, key));
    }
    const largest = Math.max(...scores.values());
    const total = [...scores.values()].reduce((sum, score) => sum + Math.exp(score - largest), 0);
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
    // Press et al. 2022 (arXiv 2108.12409): minus slope times the distance.
    return slopes ? score - (slopes[head] as number) * ((rowTable[4 * row + 1] as number) - key) : score;
  }

  function kvOffset({ slotTable, slotStride }: AttentionCase, row: number, head: number, key: number): number {
    const slot = slotTable[(rowTable[4 * row] as number) * slotStride + key] as number;
    const queriesPerKey = nHeads / nKvHeads;
    return (slot * nKvHeads + Math.floor(head / queriesPerKey)) * dHead;
  }
}

/**
 * Turns the pair (x, y) of each frequency j by the angle whose (cos, sin) is `table[position, j]` (arXiv 2104.09864).
 * `vector` has dHead elements, of which the first `2 * pairs` rotate.
 */
export function rotated(
  vector: ArrayLike<number>,
  table: Float32Array,
  position: number,
  pairs: number,
  style: "half" | "interleaved",
): Float64Array {
  const out = Float64Array.from(vector);
  for (let j = 0; j < pairs; j++) {
    const [first, second] = style === "half" ? [j, j + pairs] : [2 * j, 2 * j + 1];
    const cos = table[2 * (position * pairs + j)] as number;
    const sin = table[2 * (position * pairs + j) + 1] as number;
    const [x, y] = [vector[first] as number, vector[second] as number];
    out[first] = x * cos - y * sin;
    out[second] = x * sin + y * cos;
  }
  return out;
}

/** Rows of `stored` whose keys a query at `position` of a sequence sees, and their positions. */
export function visibleKeys(
  { window, causal }: { window: number | null; causal: boolean },
  sequence: number,
  position: number,
  stored: RowTable,
): { row: number; position: number }[] {
  const keys: { row: number; position: number }[] = [];
  for (let row = 0; row < stored.count; row++) {
    const key = stored.position(row);
    if (stored.sequence(row) !== sequence || (causal && key > position)) continue;
    if (window === null || Math.abs(position - key) < window) keys.push({ row, position: key });
  }
  return keys;
}
