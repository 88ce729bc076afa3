/**
 * A matrix kept as the list of its non-zero entries, in float64.
 *
 * The construction's weights are almost all zero, and its exactness is a statement about real numbers: the float64
 * entries are what the oracle evaluates, their float32 rounding is what the engine loads.
 */
export class SparseMatrix {
  /** Entry e sits at `[rows[e], cols[e]]`. Entries at the same place add up. A vector has one column. */
  readonly rows: number[] = [];
  readonly cols: number[] = [];
  readonly values: number[] = [];

  constructor(
    /** `[rows, cols]`, or `[length]` for a vector. */
    readonly shape: readonly number[],
  ) {}

  /** Adds an entry; a zero is left out. */
  add(row: number, col: number, value: number): void {
    if (value === 0) return;
    this.rows.push(row);
    this.cols.push(col);
    this.values.push(value);
  }

  /** The dense matrix, row by row, rounded to float32. */
  toFloat32(): Float32Array<ArrayBuffer> {
    const width = this.shape[1] ?? 1;
    const dense = new Float32Array((this.shape[0] ?? 0) * width);
    this.values.forEach((value, e) => {
      const place = (this.rows[e] as number) * width + (this.cols[e] as number);
      dense[place] = (dense[place] as number) + value;
    });
    return dense;
  }
}

/** A sparse matrix sorted by row (or by column), for products. Entries of line r: `starts[r]` up to `starts[r + 1]`. */
export interface Compressed {
  readonly starts: Int32Array;
  readonly others: Int32Array;
  readonly values: Float64Array;
}

/**
 * Sorts the entries by row (`by: "rows"`) or by column; `others` then holds the other index.
 * @param round applied to every value, `Math.fround` for float32 weights.
 */
export function compress(matrix: SparseMatrix, by: "rows" | "cols", round: (value: number) => number): Compressed {
  const count = (by === "rows" ? matrix.shape[0] : matrix.shape[1]) ?? 1;
  const lines = by === "rows" ? matrix.rows : matrix.cols;
  const across = by === "rows" ? matrix.cols : matrix.rows;
  const starts = new Int32Array(count + 1);
  for (const line of lines) starts[line + 1] = (starts[line + 1] as number) + 1;
  for (let r = 0; r < count; r++) starts[r + 1] = (starts[r + 1] as number) + (starts[r] as number);
  const next = starts.slice();
  const others = new Int32Array(lines.length);
  const values = new Float64Array(lines.length);
  lines.forEach((line, e) => {
    const place = next[line] as number;
    next[line] = place + 1;
    others[place] = across[e] as number;
    values[place] = round(matrix.values[e] as number);
  });
  return { starts, others, values };
}
