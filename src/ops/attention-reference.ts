/** What references of attention share: rotation in float64, which keys a query sees, scores, softmax and mix. */
import { softCapped } from "./activations.ts";
import type { AttentionAttributes } from "./attention-call.ts";
import type { ReferenceCall } from "./op.ts";
import type { RowTable } from "./rows.ts";

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
  { window, chunk, causal }: Pick<AttentionAttributes, "window" | "chunk" | "causal">,
  sequence: number,
  position: number,
  stored: RowTable,
): { row: number; position: number }[] {
  const keys: { row: number; position: number }[] = [];
  for (let row = 0; row < stored.count; row++) {
    const key = stored.position(row);
    if (stored.sequence(row) !== sequence || (causal && key > position)) continue;
    const isInChunk = chunk === undefined || key >= position - (position % chunk);
    if (isInChunk && (window === null || Math.abs(position - key) < window)) keys.push({ row, position: key });
  }
  return keys;
}

/** Rows of a sequence, and their positions. */
export function keysOfSequence(rows: RowTable, sequence: number): { row: number; position: number }[] {
  return visibleKeys({ window: null, causal: false }, sequence, 0, rows);
}

/** Calls `visit` for each (row, head) with the rows of the keys that it sees, and the key-value head it reads. */
export function eachRowHead(
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

/** Positions that the rows of keys reach. */
export function keyCountOf(stored: RowTable): number {
  return 1 + Math.max(...Array.from({ length: stored.count }, (_, row) => stored.position(row)));
}

/** Scores [row, head, key]; -inf where the query cannot see. */
export function scoresOf(call: ReferenceCall<AttentionAttributes>, keyCount: number): Float64Array {
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
      const bias = alibiBias(call.attributes, slope, key.position, position);
      out[rowHead * keyCount + key.position] = softCapped(product * scale, softCap) + bias;
    }
  });
  return out;
}

/** Softmax of runs of `width`, one a (row, head). A head's sink is a score more, whose part of the pattern is left out. */
export function softmaxOf(
  scores: Float64Array,
  width: number,
  sinkOf: (rowHead: number) => number = () => Number.NEGATIVE_INFINITY,
): Float64Array {
  const out = new Float64Array(scores.length);
  for (let start = 0; start < scores.length; start += width) {
    const row = scores.subarray(start, start + width);
    const sink = sinkOf(start / width);
    const largest = row.reduce((most, value) => Math.max(most, value), sink);
    const total = row.reduce((sum, value) => sum + Math.exp(value - largest), Math.exp(sink - largest));
    out.set(
      row.map((value) => Math.exp(value - largest) / total),
      start,
    );
  }
  return out;
}

/** z [row, head, dHead]. */
export function mixOf(
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

/** The sink of each (row, head); minus infinity where there is none. */
export function sinksOf({
  attributes: { sinks, nHeads },
  weight,
}: Pick<ReferenceCall<AttentionAttributes>, "attributes" | "weight">): (rowHead: number) => number {
  const values = weight(sinks);
  return (rowHead) => values?.[rowHead % nHeads] ?? Number.NEGATIVE_INFINITY;
}

/** What ALiBi adds to a score: minus slope times the distance (Press et al. 2022, arXiv 2108.12409), or falcon's rounded form. */
export function alibiBias(
  { alibiScale }: Pick<AttentionAttributes, "alibiScale">,
  slope: number,
  key: number,
  position: number,
): number {
  return alibiScale === undefined ? slope * (key - position) : alibiScale * inBfloat16(slope * key);
}

/** The nearest number that bfloat16 has, to even where two are as near. */
export function inBfloat16(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer);
  const [word = 0] = bits;
  bits[0] = (word + 0x7fff + ((word >>> 16) & 1)) & 0xffff0000;
  return new Float32Array(bits.buffer)[0] as number;
}
