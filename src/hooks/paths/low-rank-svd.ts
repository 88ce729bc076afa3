/**
 * The singular values and vectors of A B^T for tall A and B, without the large square matrix: A = Q R and B = P T give
 * Q (R T^T) P^T, and only the small core R T^T is decomposed, by Jacobi rotations of its columns (Hestenes 1958). All in
 * float64, which has twice the digits of any weight.
 */

import { HookError } from "../../errors.ts";

/** Vectors of one length: the columns of a matrix. */
export type Columns = readonly Float64Array[];

/** A B^T = sum of values[i] left[i] right[i]^T, with as many terms as its rank. */
export interface Svd {
  /** Falling. */
  readonly values: Float64Array;
  /** Orthonormal, as long as the columns of A. */
  readonly left: Columns;
  /** Orthonormal, as long as the columns of B. */
  readonly right: Columns;
}

/** @throws HookError `hook/not-finite` */
export function lowRankSvd(a: Columns, b: Columns): Svd {
  const [qa, qb] = [orthonormal(a), orthonormal(b)];
  // Column j of R T^T is R times row j of T.
  const core = qb.r.map((_, j) =>
    sumOf(
      qa.r,
      qb.r.map((column) => column[j] as number),
    ),
  );
  const { rotated, rotation } = rotate(core);
  const lengths = rotated.map((column) => Math.sqrt(dot(column, column)));
  const largest = Math.max(0, ...lengths);
  const noise = Number.EPSILON * Math.max(a.length, a[0]?.length ?? 0, b[0]?.length ?? 0) * largest;
  const order = lengths.map((_, index) => index).filter((index) => (lengths[index] as number) > noise);
  order.sort((x, y) => (lengths[y] as number) - (lengths[x] as number));
  const length = (index: number) => lengths[index] as number;
  return {
    values: Float64Array.from(order, length),
    left: order.map((index) =>
      sumOf(
        qa.q,
        (rotated[index] as Float64Array).map((x) => x / length(index)),
      ),
    ),
    right: order.map((index) => sumOf(qb.q, rotation[index] as Float64Array)),
  };
}

function dot(x: Float64Array, y: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += (x[i] as number) * (y[i] as number);
  return sum;
}

/** y += by x. */
function addTo(y: Float64Array, x: Float64Array, by: number): void {
  for (let i = 0; i < y.length; i++) y[i] = (y[i] as number) + by * (x[i] as number);
}

/** The columns, each times its factor, added up. */
function sumOf(columns: Columns, factors: ArrayLike<number>): Float64Array {
  const sum = new Float64Array(columns[0]?.length ?? 0);
  columns.forEach((column, index) => {
    addTo(sum, column, factors[index] as number);
  });
  return sum;
}

/** columns[j] = sum of r[j][i] q[i], by Gram-Schmidt; q is orthonormal, but zero for columns that earlier ones make up. */
function orthonormal(columns: Columns): { q: Columns; r: Columns } {
  const q: Float64Array[] = [];
  const r = columns.map((column) => {
    const rest = column.slice();
    const parts = new Float64Array(columns.length);
    // Once leaves errors where columns are nearly parallel; twice is enough (Giraud et al. 2005).
    for (let turn = 0; turn < 2; turn++) {
      for (const [index, direction] of q.entries()) {
        const part = dot(direction, rest);
        parts[index] = (parts[index] as number) + part;
        addTo(rest, direction, -part);
      }
    }
    const length = Math.sqrt(dot(rest, rest));
    const isNew = length > Number.EPSILON * column.length * Math.sqrt(dot(column, column));
    parts[q.length] = isNew ? length : 0;
    q.push(isNew ? rest.map((x) => x / length) : new Float64Array(column.length));
    return parts;
  });
  return { q, r };
}

/** Sweeps over all pairs of columns. They converge after some ten; NaN never does. */
const MOST_SWEEPS = 60;

/** Turns pairs of columns until all are orthogonal: `rotated` is the columns times the orthogonal matrix `rotation`. */
function rotate(columns: Columns): { rotated: Columns; rotation: Columns } {
  const rotated = columns.map((column) => column.slice());
  const rotation = columns.map((_, j) => Float64Array.from(columns, (_, i) => (i === j ? 1 : 0)));
  const tolerance = Number.EPSILON * columns.length;
  // Columns that are rounding beside the whole never get orthogonal; they are no part of the result.
  const noise = Number.EPSILON ** 2 * columns.reduce((sum, column) => sum + dot(column, column), 0);
  const turn = (i: number, j: number): boolean => {
    const [x, y] = [rotated[i], rotated[j]] as [Float64Array, Float64Array];
    const [xx, yy, xy] = [dot(x, x), dot(y, y), dot(x, y)];
    if (Math.min(xx, yy) <= noise || Math.abs(xy) <= tolerance * Math.sqrt(xx * yy)) return false;
    const zeta = (yy - xx) / (2 * xy);
    const tangent = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
    const cosine = 1 / Math.hypot(1, tangent);
    for (const [a, b] of [
      [x, y],
      [rotation[i], rotation[j]],
    ] as [Float64Array, Float64Array][])
      turnPair(a, b, cosine, cosine * tangent);
    return true;
  };
  for (let sweep = 0; sweep < MOST_SWEEPS; sweep++) {
    let turned = false;
    for (let i = 0; i < columns.length; i++) for (let j = i + 1; j < columns.length; j++) turned = turn(i, j) || turned;
    if (!turned) return { rotated, rotation };
  }
  throw new HookError("hook/not-finite", "The head's weights hold a number that is not finite. Check the checkpoint.");
}

/** (x, y) = (cosine x - sine y, sine x + cosine y). */
function turnPair(x: Float64Array, y: Float64Array, cosine: number, sine: number): void {
  for (let i = 0; i < x.length; i++) {
    const [a, b] = [x[i] as number, y[i] as number];
    x[i] = cosine * a - sine * b;
    y[i] = sine * a + cosine * b;
  }
}
