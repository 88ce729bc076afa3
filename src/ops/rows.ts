/**
 * The row table: what the GPU needs to know of each token of a pass.
 *
 * A pass computes a list of tokens, `rows`, that need not form a rectangle. Row r belongs to `sequence(r)` at
 * `position(r)`, writes its key and value into `slot(r)` of the cache and reads the keys in the slots that the slot table
 * lists for its sequence. That one indirection serves batches of unequal length, forked caches and sweeps alike.
 */

/** Fields of a row, in the order of the vec4 in the kernels. */
const FIELDS = 4;
/** One past the largest position a row's key can hold. */
const POSITIONS = 2 ** 22;

export class RowTable {
  readonly data: Uint32Array;
  /** By sequence and position, made when first asked for. */
  #rowOf: Map<number, number> | undefined;

  constructor(readonly count: number) {
    this.data = new Uint32Array(count * FIELDS);
  }

  set(row: number, sequence: number, position: number, slot: number, token: number): void {
    this.data.set([sequence, position, slot, token], row * FIELDS);
    this.#rowOf = undefined;
  }

  sequence(row: number): number {
    return this.data[row * FIELDS] as number;
  }

  position(row: number): number {
    return this.data[row * FIELDS + 1] as number;
  }

  slot(row: number): number {
    return this.data[row * FIELDS + 2] as number;
  }

  token(row: number): number {
    return this.data[row * FIELDS + 3] as number;
  }

  /** The row of a position; -1 when the table has none. */
  indexOf(sequence: number, position: number): number {
    if (!this.#rowOf) {
      this.#rowOf = new Map();
      for (let row = 0; row < this.count; row++)
        this.#rowOf.set(this.sequence(row) * POSITIONS + this.position(row), row);
    }
    return this.#rowOf.get(sequence * POSITIONS + position) ?? -1;
  }

  /** Runs of neighbouring rows of one sequence. */
  get runs(): number {
    let runs = 0;
    for (let row = 0; row < this.count; row++) {
      if (row === 0 || this.sequence(row) !== this.sequence(row - 1)) runs += 1;
    }
    return runs;
  }

  /** Keys that all rows see together, each itself and those before it, as far as a window reaches (null: all). */
  keysSeen(window: number | null): number {
    let keys = 0;
    for (let row = 0; row < this.count; row++)
      keys += Math.min(this.position(row) + 1, window ?? Number.POSITIVE_INFINITY);
    return keys;
  }

  /** The same, where each row sees those of its chunk up to itself. */
  keysInChunks(chunk: number): number {
    let keys = 0;
    for (let row = 0; row < this.count; row++) keys += (this.position(row) % chunk) + 1;
    return keys;
  }

  /** The table of some of the rows, in the order given. */
  select(rows: readonly number[]): RowTable {
    const table = new RowTable(rows.length);
    rows.forEach((row, index) => {
      table.data.set(this.data.subarray(row * FIELDS, (row + 1) * FIELDS), index * FIELDS);
    });
    return table;
  }

  /** Rows `start` to `end`. */
  slice(start: number, end: number): RowTable {
    const table = new RowTable(end - start);
    table.data.set(this.data.subarray(start * FIELDS, end * FIELDS));
    return table;
  }
}
