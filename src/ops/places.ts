/** Where captured rows lie: the layout of a captured activation, and which of its rows belongs to which of the pass. */
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { View } from "../kernels/view.ts";
import type { PassHooks } from "./bindings.ts";
import type { RowTable } from "./rows.ts";

/**
 * How an activation [batch, pos, head, width] or, for scores and pattern, [batch, head, query, key] is walked: as a view
 * whose row `rowIndex(sequence, place)` is that of a place along the position axis.
 */
export interface Layout extends Omit<View, "buffer"> {
  readonly batch: number;
  readonly positions: number;
  readonly hasHeads: boolean;
  readonly headFirst: boolean;
  rowIndex(sequence: number, place: number): number;
}

export function layoutOf(shape: readonly number[], headFirst: boolean): Layout {
  const hasHeads = shape.length === 4;
  const [batch = 0, second = 0, third = 0, fourth = 0] = shape;
  const width = hasHeads ? fourth : third;
  const heads = hasHeads ? (headFirst ? second : third) : 1;
  const positions = headFirst ? third : second;
  const rowsPerPlace = headFirst ? heads : 1;
  return {
    batch,
    positions,
    heads,
    width,
    hasHeads,
    headFirst,
    start: 0,
    rowStride: headFirst ? width : heads * width,
    headStride: headFirst ? positions * width : width,
    rowIndex: (sequence, place) => sequence * rowsPerPlace * positions + place,
  };
}

/** Pairs (row of the pass, row of the captured tensor), and their reverse. */
export interface RowPairs {
  readonly pairs: Tensor;
  readonly reversed: Tensor;
}

const pairsOf = new WeakMap<Recorder, WeakMap<RowTable, Map<string, RowPairs>>>();

/** Uploaded once for all points of one layout in a pass; undefined when none of the rows is captured. */
export function rowPairs(
  recorder: Recorder,
  hooks: PassHooks,
  which: "positions" | "allPositions",
  rows: RowTable,
  layout: Layout,
): RowPairs | undefined {
  const ofPass = pairsOf.get(recorder) ?? new WeakMap<RowTable, Map<string, RowPairs>>();
  pairsOf.set(recorder, ofPass);
  const ofRows = ofPass.get(rows) ?? new Map<string, RowPairs>();
  ofPass.set(rows, ofRows);
  const key = `${which},${layout.headFirst ? layout.heads : 1},${layout.positions}`;
  const known = ofRows.get(key);
  if (known) return known;
  const places = hooks[which].map((list) => new Map(list.map((position, place) => [position, place])));
  const pairs: number[] = [];
  for (let row = 0; row < rows.count; row++) {
    const place = places[rows.sequence(row)]?.get(rows.position(row));
    if (place !== undefined) pairs.push(row, layout.rowIndex(rows.sequence(row), place));
  }
  if (pairs.length === 0) return undefined;
  const made = {
    pairs: recorder.upload(Uint32Array.from(pairs)),
    reversed: recorder.upload(Uint32Array.from(pairs, (_, index) => pairs[index ^ 1] as number)),
  };
  ofRows.set(key, made);
  return made;
}
