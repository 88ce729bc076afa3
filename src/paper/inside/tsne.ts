/**
 * t-SNE (van der Maaten and Hinton 2008): points in the plane such that neighbours stay neighbours. Each point's neighbours
 * have a Gaussian weight p, in the plane a Student weight q, and the places are moved until KL(p || q) is small.
 *
 * This is the exact form, for the few hundred points of a figure. It starts from the principal plane instead of noise (Kobak
 * and Berens 2019), so that it needs no seed and keeps what there is of a global order. Of the libraries, druidjs is LGPL;
 * tsne-js and the ports of tsnejs draw from Math.random and have been left alone for years.
 */
import { distance, principalPlane, type Vector } from "./projections.ts";

export interface TsneOptions {
  /** How many neighbours a point has, about. Default 30, or a third of the points. */
  perplexity?: number;
  /** Default 500. */
  steps?: number;
}

/** For the first steps neighbours attract more, so that groups find together. */
const EXAGGERATION = { by: 12, steps: 120 };

/** A place in the plane for each point. */
export function tsne(
  points: readonly Vector[],
  { perplexity = 30, steps = 500 }: TsneOptions = {},
): [number, number][] {
  const count = points.length;
  const weights = neighbourWeights(points, Math.min(perplexity, (count - 1) / 3));
  const plane = principalPlane(points);
  const largest = Math.max(...plane.flat().map(Math.abs)) || 1;
  const places = Float64Array.from(plane.flat(), (value) => (1e-2 * value) / largest);
  const speed = new Float64Array(2 * count);
  const gains = new Float64Array(2 * count).fill(1);
  const rate = Math.max(count / EXAGGERATION.by, 10);
  for (let step = 0; step < steps; step++) {
    const isEarly = step < EXAGGERATION.steps;
    const { gradient } = divergence(weights, places, isEarly ? EXAGGERATION.by : 1);
    for (let i = 0; i < places.length; i++) {
      const [slope, old] = [gradient[i] as number, speed[i] as number];
      const gain = Math.max(0.01, slope * old < 0 ? (gains[i] as number) + 0.2 : (gains[i] as number) * 0.8);
      gains[i] = gain;
      speed[i] = (isEarly ? 0.5 : 0.8) * old - rate * gain * slope;
      places[i] = (places[i] as number) + (speed[i] as number);
    }
  }
  return points.map((_, i) => [places[2 * i] as number, places[2 * i + 1] as number]);
}

/** p [count * count]: symmetric, sums to 1; every row's own weights have the perplexity. */
export function neighbourWeights(points: readonly Vector[], perplexity: number): Float64Array {
  const count = points.length;
  const weights = new Float64Array(count * count);
  for (let i = 0; i < count; i++) {
    const squares = points.map((point) => distance(point, points[i] as Vector) ** 2);
    for (const [j, weight] of rowOf(squares, i, Math.log(perplexity)).entries()) {
      weights[i * count + j] = (weights[i * count + j] as number) + weight / (2 * count);
      weights[j * count + i] = (weights[j * count + i] as number) + weight / (2 * count);
    }
  }
  return weights;
}

/** exp(-beta d^2), normalised, with beta such that its entropy is the one wanted; by bisection. */
function rowOf(squares: readonly number[], own: number, entropy: number): number[] {
  const nearest = Math.min(...squares.filter((_, j) => j !== own));
  let [low, high, beta] = [0, Number.POSITIVE_INFINITY, 1 / (nearest || 1)];
  let row: number[] = [];
  for (let turn = 0; turn < 60; turn++) {
    const raw = squares.map((square, j) => (j === own ? 0 : Math.exp(-beta * (square - nearest))));
    const total = raw.reduce((sum, value) => sum + value, 0);
    row = raw.map((value) => value / total);
    const found = -row.reduce((sum, p) => (p > 0 ? sum + p * Math.log(p) : sum), 0);
    if (Math.abs(found - entropy) < 1e-6) break;
    if (found > entropy) low = beta;
    else high = beta;
    beta = high === Number.POSITIVE_INFINITY ? 2 * beta : (low + high) / 2;
  }
  return row;
}

/** KL(p || q) of places [count * 2], and its gradient. `exaggeration` multiplies p in the gradient. */
export function divergence(
  weights: Float64Array,
  places: Float64Array,
  exaggeration = 1,
): { value: number; gradient: Float64Array } {
  const count = places.length / 2;
  const near = new Float64Array(count * count);
  let total = 0;
  for (let i = 0; i < count; i++)
    for (let j = 0; j < count; j++) {
      if (i === j) continue;
      const x = (places[2 * i] as number) - (places[2 * j] as number);
      const y = (places[2 * i + 1] as number) - (places[2 * j + 1] as number);
      near[i * count + j] = 1 / (1 + x * x + y * y);
      total += near[i * count + j] as number;
    }
  const gradient = new Float64Array(2 * count);
  let value = 0;
  for (let i = 0; i < count; i++)
    for (let j = 0; j < count; j++) {
      if (i === j) continue;
      const [p, kernel] = [weights[i * count + j] as number, near[i * count + j] as number];
      const q = kernel / total;
      if (p > 0) value += p * Math.log(p / q);
      const pull = 4 * (exaggeration * p - q) * kernel;
      for (const axis of [0, 1])
        gradient[2 * i + axis] =
          (gradient[2 * i + axis] as number) +
          pull * ((places[2 * i + axis] as number) - (places[2 * j + axis] as number));
    }
  return { value, gradient };
}
