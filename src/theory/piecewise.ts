/**
 * Piecewise-linear functions as sums of ReLUs, expanded outwards from a pivot.
 *
 * f(x) = f(pivot) + sum of slope changes times relu(x - knot) to the right of the pivot and relu(knot - x) to its left.
 * The pivot matters in float32. If f bends the same way all along a side, all terms of that side have one sign and
 * nothing cancels. So the logit, which bends away from 1/2 on both sides, is expanded from 1/2. The logarithm, which is
 * concave, is expanded from its largest knot. From the left end, partial sums would reach B m and cancel down to the value.
 * Largest float32 error of a weight at m = 1000: logit 2.4e-7 from 1/2, 5.3e-4 from either end; log 5.9e-7 from the
 * largest knot, 4.3e-3 from 0.
 */

/** One hidden unit: contributes `weight * relu(direction * (x - knot))`. */
export interface ReluUnit {
  knot: number;
  direction: 1 | -1;
  weight: number;
}

export interface PiecewiseLinear {
  /** f(pivot). */
  constant: number;
  units: ReluUnit[];
}

/**
 * The function through the points `(knots[i], values[i])` (knots ascending), continued linearly beyond the ends.
 * @param pivot within [first knot, last knot].
 */
export function expandAround(pivot: number, knots: readonly number[], values: readonly number[]): PiecewiseLinear {
  const segments = knots.slice(1).map((right, s) => {
    const left = knots[s] as number;
    const start = values[s] as number;
    return { left, right, start, slope: ((values[s + 1] as number) - start) / (right - left) };
  });
  const home = segments.find((segment) => pivot <= segment.right) ?? (segments.at(-1) as (typeof segments)[number]);
  const constant = home.start + home.slope * (pivot - home.left);
  const units: ReluUnit[] = [];
  let slope = 0;
  for (const segment of segments) {
    if (segment.right <= pivot) continue;
    units.push({ knot: Math.max(segment.left, pivot), direction: 1, weight: segment.slope - slope });
    slope = segment.slope;
  }
  slope = 0;
  for (const segment of [...segments].reverse()) {
    if (segment.left >= pivot) continue;
    units.push({ knot: Math.min(segment.right, pivot), direction: -1, weight: -segment.slope - slope });
    slope = -segment.slope;
  }
  return { constant, units };
}

/**
 * logit(c / m) for a count c, piecewise linear with knots at the integers 0 .. m; `bound` stands for infinity.
 * Counts are the argument, not shares: knots are then exact in float32 and float16.
 *
 * The extra knots at 1/2 and m - 1/2 keep the steep pieces to -bound and bound away from the counts 1 and m - 1, where
 * they would magnify any rounding of the count 28 times (58 times for the logarithm; with float16 weights that made
 * errors of 3e-2 out of 2e-4).
 */
export function logitOfCount(examples: number, bound: number): PiecewiseLinear {
  const inner = Array.from({ length: examples - 1 }, (_, c) => c + 1);
  const knots = [...new Set([0, 1 / 2, ...inner, examples - 1 / 2, examples])];
  const values = knots.map((c) => {
    if (c === 0) return -bound;
    return c === examples ? bound : Math.log(c / (examples - c));
  });
  return expandAround(examples / 2, knots, values);
}

/** log(c / m) for a count c, piecewise linear with knots at 0, 1/2 and the integers 1 .. largest; `-floor` at 0. */
export function logOfCount(examples: number, largest: number, floor: number): PiecewiseLinear {
  if (largest === 0) return { constant: -floor, units: [] };
  const knots = [0, 1 / 2, ...Array.from({ length: largest }, (_, c) => c + 1)];
  const values = knots.map((c) => (c === 0 ? -floor : Math.log(c / examples)));
  return expandAround(largest, knots, values);
}
