/**
 * Scores of tokens from one backward pass: how much the metric depends on what stands at each position.
 *
 * `saliency` is the length of the gradient, so how strongly the metric could react; `gradientTimesActivation` its dot
 * product with the activation, so how much of the metric the activation accounts for, to first order around zero.
 * (Simonyan et al. 2013, arXiv 1312.6034; Denil et al. 2014, arXiv 1412.6815.)
 */
import { HookError } from "../../errors.ts";
import type { TokenInput } from "../../model/input.ts";
import { layoutOf } from "../../ops/places.ts";
import * as s from "../../schema/schema.ts";
import { readCall } from "../call.ts";
import type { HookedModel } from "../hooked-model.ts";
import { type CheckedMetric, METRIC_SCHEMA, type Metric } from "../metrics.ts";
import { assertOneColumn, PROMPT, sequenceOf } from "../patching/experiment.ts";
import type { GridAxis } from "../patching/grid.ts";
import { positionAxis } from "../patching/sites.ts";
import { isHeadFirst, resolvePoint } from "../points.ts";

/** What every score of tokens takes. */
export interface TokenScoreOptions {
  /** One sequence. */
  input: TokenInput;
  /** One number, with a gradient. */
  metric: Metric;
  /** Position whose logits are measured; negative from the end. Default -1. Not for `metric.loss`. */
  metricPosition?: number;
  /** The point whose activation counts. Default "hook_embed", the token embeddings. */
  at?: string;
  /** Ends the call with `signal.reason`; what the GPU has begun, it finishes. */
  signal?: AbortSignal;
}

export const TOKEN_SCORE_FIELDS = {
  input: PROMPT,
  metric: s.required(METRIC_SCHEMA),
  metricPosition: s.whole,
  at: s.text,
  signal: s.signal,
} as const satisfies s.Fields<TokenScoreOptions>;

export const TOKEN_SCORE_OPTIONS = s.object<TokenScoreOptions>("the options of a score of tokens", TOKEN_SCORE_FIELDS);

/** One number for each position of a prompt. */
export interface TokenScores {
  /** The point. */
  readonly at: string;
  /** The positions, with their tokens as labels. */
  readonly positions: GridAxis;
  /** [positions]; where the point has heads, of all heads together. */
  readonly scores: Float32Array;
  /** The metric of the prompt. */
  readonly value: number;
}

/**
 * The L2 norm of the metric's gradient at each position: one forward and one backward pass.
 * @throws HookError `hook/metric` for a metric without a gradient, `hook/no-such-point`; otherwise as `backward`.
 */
export function saliency(model: HookedModel, options: TokenScoreOptions): Promise<TokenScores> {
  return score("saliency", model, options, (_, gradient) => gradient ** 2, Math.sqrt);
}

/** The dot product of activation and gradient at each position: one forward and one backward pass. Throws as `saliency`. */
export function gradientTimesActivation(model: HookedModel, options: TokenScoreOptions): Promise<TokenScores> {
  return score("gradientTimesActivation", model, options, weigh, (sum) => sum);
}

/** A term of a dot product with a gradient. Scores that no query sees are -Infinity, and have no gradient. */
export function weigh(activation: number, gradient: number): number {
  return gradient === 0 ? 0 : activation * gradient;
}

async function score(
  call: string,
  model: HookedModel,
  given: TokenScoreOptions,
  term: (activation: number, gradient: number) => number,
  finish: (sum: number) => number,
): Promise<TokenScores> {
  const {
    input,
    metric,
    metricPosition: position,
    at = "hook_embed",
    signal,
  } = readCall(call, model, TOKEN_SCORE_OPTIONS, given);
  assertOneColumn(metric);
  checkScored(call, metric as CheckedMetric, position);
  resolvePoint(model.spec, at);
  const ids = sequenceOf(model, input, "input");
  using run = await model.backward([ids], { metric, position, at, signal });
  const [activations, gradients] = [await run.cache.read(at), await run.grads.read(at)];
  const terms = Float64Array.from(gradients, (gradient, index) => term(activations[index] as number, gradient));
  const scores = sumPerPosition(terms, at, run.grads.shape(at)).map(finish);
  return { at, positions: wholeAxis(model, ids), scores, value: run.value[0] as number };
}

/** What `backward` refuses too, in words of its own options. @throws InputError `input/idle-option`; HookError `hook/metric` */
function checkScored(call: string, { kind, reference }: CheckedMetric, position: number | undefined): void {
  if (kind === "loss" && position !== undefined)
    s.refuseIdle(call, "metricPosition", "beside metric.loss, which counts every position. Give the loss a mask");
  if (kind === "kl" && !reference)
    throw new HookError(
      "hook/metric",
      `${call} has one run, whose distance from itself is 0, with gradient 0. Give the logits to compare with: metric.kl(logits).`,
    );
}

/** Every position of a prompt. */
export function wholeAxis(model: HookedModel, ids: readonly number[]): GridAxis {
  return positionAxis(model, ids, [...ids.keys()]);
}

/** Sums of a point's values [1, pos, …] (pattern and scores: [1, head, query, key]) over all axes but the positions. */
export function sumPerPosition(values: Float64Array, at: string, shape: readonly number[]): Float32Array {
  const { positions, heads, headStride, rowStride, width } = layoutOf(shape, isHeadFirst(at));
  return Float32Array.from({ length: positions }, (_, position) => {
    let sum = 0;
    for (let head = 0; head < heads; head++) {
      const start = position * rowStride + head * headStride;
      for (let dim = start; dim < start + width; dim++) sum += values[dim] as number;
    }
    return sum;
  });
}
