/**
 * Many dimensions on two. Linear discriminants (Fisher 1936, Rao 1948) are the directions in which groups lie furthest apart,
 * measured by how far each spreads: the leading eigenvectors of Sw^-1/2 Sb Sw^-1/2. With fewer points than dimensions Sw has no
 * inverse, and directions without any spread would separate every sample; so a tenth of its mean is added to its diagonal
 * (Friedman 1989).
 */
import { lowRankSvd } from "../../hooks/paths/low-rank-svd.ts";

export type Vector = ArrayLike<number>;

const SHRINKAGE = 0.1;

export interface Discriminants {
  /** The place of a point on the discriminants, as many as groups less one, the best first. */
  project(point: Vector): number[];
  /** The group whose centre is nearest there. */
  classify(point: Vector): number;
}

/** The discriminants of groups of points. */
export function discriminants(groups: readonly (readonly Vector[])[]): Discriminants {
  const centres = groups.map(meanVector);
  const middle = meanVector(groups.flat());
  const deviations = groups.flatMap((group, index) => group.map((point) => minus(point, centres[index] as Vector)));
  const whiten = inverseRoot(deviations, deviations.length - groups.length);
  const between = singular(centres.map((centre) => whiten(minus(centre, middle))));
  // The root is symmetric: the product of a whitened point and a direction is that of the point and the whitened direction.
  const axes = between.left.slice(0, groups.length - 1).map(whiten);
  const project = (point: Vector) => axes.map((axis) => dot(axis, minus(point, middle)));
  const projected = centres.map(project);
  const classify = (point: Vector) => {
    const place = project(point);
    const distances = projected.map((centre) => distance(place, centre));
    return distances.indexOf(Math.min(...distances));
  };
  return { project, classify };
}

/** x -> (S + r I)^-1/2 x, where S is the covariance of deviations and r the shrinkage. */
function inverseRoot(deviations: readonly Float64Array[], freedom: number): (x: Float64Array) => Float64Array {
  const { values, left } = singular(deviations);
  const variances = [...values].map((value) => value ** 2 / Math.max(1, freedom));
  const dims = (deviations[0] as Float64Array).length;
  const ridge = (SHRINKAGE * variances.reduce((sum, value) => sum + value, 0)) / dims || 1;
  const plain = 1 / Math.sqrt(ridge);
  return (x) => {
    const result = x.map((value) => value * plain);
    for (const [index, direction] of left.entries()) {
      const factor = dot(direction, x) * (1 / Math.sqrt((variances[index] as number) + ridge) - plain);
      for (let dim = 0; dim < dims; dim++) result[dim] = (result[dim] as number) + factor * (direction[dim] as number);
    }
    return result;
  };
}

/** The points on their two directions of largest spread. */
export function principalPlane(points: readonly Vector[]): [number, number][] {
  const middle = meanVector(points);
  const centred = points.map((point) => minus(point, middle));
  const [first, second] = singular(centred).left;
  return centred.map((point) => [first ? dot(first, point) : 0, second ? dot(second, point) : 0]);
}

/** Singular values, and directions of the space that the columns lie in. */
function singular(columns: readonly Float64Array[]) {
  const identity = columns.map((_, j) => Float64Array.from(columns, (_, i) => Number(i === j)));
  return lowRankSvd(columns, identity);
}

export function meanVector(points: readonly Vector[]): Float64Array {
  const sum = new Float64Array((points[0] as Vector).length);
  for (const point of points)
    for (let dim = 0; dim < sum.length; dim++) sum[dim] = (sum[dim] as number) + (point[dim] as number);
  return sum.map((value) => value / points.length);
}

export const minus = (x: Vector, y: Vector): Float64Array =>
  Float64Array.from(x, (value, dim) => value - (y[dim] as number));

export function dot(x: Vector, y: Vector): number {
  let sum = 0;
  for (let dim = 0; dim < x.length; dim++) sum += (x[dim] as number) * (y[dim] as number);
  return sum;
}

export const distance = (x: Vector, y: Vector): number => {
  const difference = minus(x, y);
  return Math.sqrt(dot(difference, difference));
};
