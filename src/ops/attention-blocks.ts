/** The rows of attention's gradients by blocks: neighbouring rows of one sequence, and which queries may see a key. */
import type { RowTable } from "./rows.ts";

/** Runs of at most `most` neighbouring rows of one sequence. */
export function blocksOf(rows: RowTable, most: number): { first: number; count: number }[] {
  const blocks: { first: number; count: number }[] = [];
  for (let first = 0; first < rows.count; ) {
    const sequence = rows.sequence(first);
    let count = 1;
    while (count < most && first + count < rows.count && rows.sequence(first + count) === sequence) count++;
    blocks.push({ first, count });
    first += count;
  }
  return blocks;
}

/** The first and the end of the query rows of a sequence, which lie together, that may see a key at a position. */
export function queriesOf(queries: RowTable, { causal }: { causal: boolean }) {
  const ranges = new Map<number, { first: number; end: number }>();
  for (let row = 0; row < queries.count; row++) {
    const range = ranges.get(queries.sequence(row));
    if (range) range.end = row + 1;
    else ranges.set(queries.sequence(row), { first: row, end: row + 1 });
  }
  return (sequence: number, position: number): [number, number] => {
    const { first, end } = ranges.get(sequence) ?? { first: 0, end: 0 };
    if (!causal) return [first, end];
    // Positions rise from row to row.
    let [seen, above] = [first, end];
    while (seen < above) {
      const middle = (seen + above) >> 1;
      if (queries.position(middle) < position) seen = middle + 1;
      else above = middle;
    }
    return [seen, end];
  };
}
