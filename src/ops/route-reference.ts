/** A mixture's routing in float64, row by row, from its definition (`RoutingSpec`). */
import type { RoutingSpec } from "../kernels/routing.ts";

/** A row's experts, the greatest first, and their weights. */
export interface Routed {
  readonly indices: number[];
  readonly weights: number[];
}

type Numbers = ArrayLike<number>;

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
const sumOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);

/** Indices by falling value; of equal values the first comes first, and NaN last. */
function ranked(values: Numbers): number[] {
  const order = Array.from({ length: values.length }, (_, index) => index);
  const rank = (index: number) => {
    const value = values[index] as number;
    return Number.isNaN(value) ? Number.NEGATIVE_INFINITY : value;
  };
  return order.sort((a, b) => rank(b) - rank(a) || a - b);
}

function softmax(values: readonly number[]): number[] {
  const largest = Math.max(...values);
  const exponentials = values.map((value) => Math.exp(value - largest));
  const total = sumOf(exponentials);
  return exponentials.map((value) => value / total);
}

/** The experts whose logits are in the softmax of a slot of sparsemixer, by its chosen one. */
function near(logits: readonly number[], open: readonly number[], expert: number, tolerance: number): number[] {
  const largest = logits[expert] as number;
  return open.filter((e) => {
    const value = logits[e] as number;
    return !((largest - value) / Math.max(Math.abs(value), largest) > 2 * tolerance);
  });
}

/** The experts that may be chosen at a slot of sparsemixer, each with its share. */
function sharesAt(logits: readonly number[], chosen: readonly number[], slot: number, tolerance: number) {
  const open = logits.map((_, e) => e).filter((e) => slot === 0 || e !== chosen[0]);
  const inside = near(logits, open, chosen[slot] as number, tolerance);
  const shares = softmax(inside.map((e) => logits[e] as number));
  return inside.map((expert, index) => ({ expert, share: shares[index] as number }));
}

const scoresOf = (routing: RoutingSpec, logits: readonly number[]) =>
  routing.scores === "softmax" ? softmax(logits) : logits.map(sigmoid);

/** What experts are chosen by, with the groups that are not chosen at 0. */
function choiceOf({ groups }: RoutingSpec, scores: readonly number[], bias: Numbers | undefined): number[] {
  const choice = scores.map((score, e) => score + (bias?.[e] ?? 0));
  if (!groups) return choice;
  const size = choice.length / groups.count;
  const ofGroups = Array.from({ length: groups.count }, (_, group) => {
    const own = choice.slice(group * size, (group + 1) * size).sort((a, b) => b - a);
    return sumOf(own.slice(0, groups.by === "max" ? 1 : 2));
  });
  const kept = new Set(ranked(ofGroups).slice(0, groups.chosen));
  return choice.map((value, e) => (kept.has(Math.floor(e / size)) ? value : 0));
}

/** The experts of one row. */
export function routed(
  routing: RoutingSpec,
  logits: readonly number[],
  chosen: number,
  bias: Numbers | undefined,
): Routed {
  const { scale, normalize, tolerance = 0 } = routing;
  if (routing.scores === "sparsemixer") {
    const indices = ranked(logits).slice(0, chosen);
    const weights = indices.map((expert, slot) => {
      const shares = sharesAt(logits, indices, slot, tolerance);
      return scale * (shares.find((each) => each.expert === expert)?.share as number);
    });
    return { indices, weights };
  }
  const scores = scoresOf(routing, logits);
  const byLogits = routing.scores === "sigmoid" && !bias && !routing.groups;
  const indices = ranked(byLogits ? logits : choiceOf(routing, scores, bias)).slice(0, chosen);
  const raw = indices.map((expert) => scores[expert] as number);
  const divisor = normalize ? Math.max(sumOf(raw) + normalize.plus, normalize.atLeast) : 1;
  return { indices, weights: raw.map((score) => (scale * score) / divisor) };
}

/** d metric / d logits of one row, given that of its weights; the formulas are in route_gradient.wgsl. */
export function routedGradient(
  routing: RoutingSpec,
  logits: readonly number[],
  indices: readonly number[],
  dWeights: readonly number[],
): number[] {
  const { scale, normalize, tolerance = 0 } = routing;
  const out = logits.map(() => 0);
  const add = (e: number, value: number) => {
    out[e] = (out[e] as number) + value;
  };
  if (routing.scores === "sparsemixer") {
    indices.forEach((expert, slot) => {
      const shares = sharesAt(logits, indices, slot, tolerance);
      const own = shares.find((each) => each.expert === expert)?.share as number;
      for (const each of shares)
        add(each.expert, scale * (dWeights[slot] as number) * own * ((each.expert === expert ? 1 : 0) - each.share));
    });
    return out;
  }
  const scores = scoresOf(routing, logits);
  const raw = indices.map((expert) => scores[expert] as number);
  const sum = sumOf(raw) + (normalize?.plus ?? 0);
  const divisor = normalize ? Math.max(sum, normalize.atLeast) : 1;
  const weighed = sumOf(raw.map((score, slot) => score * (dWeights[slot] as number)));
  const part = normalize && sum > normalize.atLeast ? weighed / divisor : 0;
  const dScores = dWeights.map((dWeight) => (scale * (dWeight - part)) / divisor);
  const mean = sumOf(raw.map((score, slot) => score * (dScores[slot] as number)));
  indices.forEach((expert, slot) => {
    const score = scores[expert] as number;
    const slope = routing.scores === "softmax" ? score : score * (1 - score);
    add(expert, (dScores[slot] as number) * slope);
  });
  if (routing.scores === "softmax") for (const [e, score] of scores.entries()) add(e, -mean * score);
  return out;
}
