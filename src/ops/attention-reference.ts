/** What references of attention share: rotation in float64, and which keys a query sees. */
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
