/**
 * An n-dimensional array: numbers in a row, and a shape that says how to find one. NumPy's idea, and as much of it as looking
 * at activations needs: indexing, slices and means. A slice shares the numbers of the array that it is cut from.
 *
 * The number at [i, j, k] lies at offset + i * strides[0] + j * strides[1] + k * strides[2].
 */
import { InputError } from "../errors.ts";
import * as s from "../schema/schema.ts";

/** What a slice takes of an axis: one index (the axis is dropped), `[start, end]` without the end, or `null` for all. */
export type Cut = number | readonly [start: number, end: number] | null;

/** Numbers in lists in lists. */
export type NestedNumbers = number | NestedNumbers[];

/** Numbers by several indices, such as a pattern by [batch, head, query, key]; an edit takes one as its value. Negative indices count from the end of an axis. */
export class NdArray {
  /** The size of each axis. */
  readonly shape: readonly number[];
  readonly #data: Float32Array;
  readonly #strides: readonly number[];
  readonly #offset: number;

  /** An array over `data`, row-major: the last index moves fastest. `place` is for slices. */
  constructor(data: Float32Array, shape: readonly number[], place?: { strides: readonly number[]; offset: number }) {
    if (!place) s.readArgument(s.instance("a Float32Array", Float32Array), data, "NdArray", "data");
    if (!place) s.readArgument(s.list("sizes", s.wholeFrom(0)), shape, "NdArray", "shape");
    if (!place && sizeOf(shape) !== data.length)
      refuse(`The shape [${shape}] has ${sizeOf(shape)} numbers, the data ${data.length}.`);
    this.shape = [...shape];
    this.#data = data;
    this.#strides = place?.strides ?? rowMajor(shape);
    this.#offset = place?.offset ?? 0;
  }

  /** All numbers in the order of the axes, row-major: what pictures read beside `shape`. */
  get data(): Float32Array {
    return this.toFlat();
  }

  /** The number at an index for each axis. @throws InputError `input/array` for an index that does not exist */
  at(...index: readonly number[]): number {
    if (index.length !== this.shape.length)
      refuse(`at() needs one index for each axis of [${this.shape}]; slice() takes fewer.`);
    let place = this.#offset;
    for (const [axis, each] of index.entries())
      place += indexIn(each, this.shape[axis] as number) * (this.#strides[axis] as number);
    return this.#data[place] as number;
  }

  /**
   * Part of the array, over the same numbers: `pattern.slice(0, null, [2, 5])` is batch entry 0, all heads, queries 2 to 4.
   * Axes that are left out are taken whole. @throws InputError `input/array`
   */
  slice(...cuts: readonly Cut[]): NdArray {
    const { shape, ...place } = this.#cut(cuts);
    return new NdArray(this.#data, shape, place);
  }

  /** The mean over some axes, which are then gone: `pattern.mean(0, 2)`. Without any, over all; `.at()` is then the number. */
  mean(...axes: readonly number[]): NdArray {
    const count = this.shape.length;
    const gone = new Set(axes.length === 0 ? this.shape.keys() : axes.map((axis) => indexIn(axis, count)));
    const shape = this.shape.filter((_, axis) => !gone.has(axis));
    const kept = rowMajor(shape);
    const sums = new Float64Array(sizeOf(shape));
    const strides = this.shape.map((_, axis) => (gone.has(axis) ? 0 : (kept.shift() as number)));
    this.#beside(strides, (value, at) => {
      sums[at] = (sums[at] as number) + value;
    });
    return new NdArray(
      Float32Array.from(sums, (sum) => sum / (sizeOf(this.shape) / sums.length)),
      shape,
    );
  }

  /** The numbers in a row of their own, row-major. */
  toFlat(): Float32Array {
    const flat = new Float32Array(sizeOf(this.shape));
    this.#beside(rowMajor(this.shape), (value, at) => {
      flat[at] = value;
    });
    return flat;
  }

  /** Lists in lists, one level for each axis; an array without axes is its number. */
  toNested(): NestedNumbers {
    if (this.shape.length === 0) return this.at();
    return Array.from({ length: this.shape[0] as number }, (_, index) => this.slice(index).toNested());
  }

  /** Calls `visit` for every number, with its place in an array of other strides. */
  #beside(strides: readonly number[], visit: (value: number, at: number) => void): void {
    const walk = (axis: number, offset: number, at: number): void => {
      if (axis === this.shape.length) visit(this.#data[offset] as number, at);
      const [own, other] = [this.#strides[axis] as number, strides[axis] as number];
      for (let i = 0; i < (this.shape[axis] as number); i++) walk(axis + 1, offset + i * own, at + i * other);
    };
    walk(0, this.#offset, 0);
  }

  #cut(cuts: readonly Cut[]): { shape: number[]; strides: number[]; offset: number } {
    if (cuts.length > this.shape.length) refuse(`${cuts.length} indices are more than the axes of [${this.shape}].`);
    const place = { shape: [] as number[], strides: [] as number[], offset: this.#offset };
    for (const [axis, size] of this.shape.entries()) {
      const cut = cuts[axis] ?? [0, size];
      const [start, end] = Array.isArray(cut) && cut.length === 2 ? cut : [cut];
      const first = indexIn(start, size, end === undefined ? size : size + 1);
      place.offset += first * (this.#strides[axis] as number);
      if (end === undefined) continue;
      place.shape.push(Math.max(0, indexIn(end, size, size + 1) - first));
      place.strides.push(this.#strides[axis] as number);
    }
    return place;
  }
}

const sizeOf = (shape: readonly number[]) => shape.reduce((product, size) => product * size, 1);
const rowMajor = (shape: readonly number[]) => shape.map((_, axis) => sizeOf(shape.slice(axis + 1)));

function refuse(message: string): never {
  throw new InputError("input/array", message);
}

/** An index from the start, below `limit`. */
function indexIn(index: unknown, size: number, limit = size): number {
  const found = Number.isInteger(index) ? (index as number) + ((index as number) < 0 ? size : 0) : -1;
  if (found >= 0 && found < limit) return found;
  return refuse(`${s.describe(index)} is no index of an axis of ${size}.`);
}
