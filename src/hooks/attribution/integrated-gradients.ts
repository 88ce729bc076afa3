/**
 * Integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365): the change of a metric between a baseline and an
 * input, shared out among the input's entries.
 *
 *     attribution = (x - baseline) * mean over the straight path from baseline to x of the gradient
 *
 * The attributions of an exact integral add up to metric(x) - metric(baseline); that they do is the method's own check,
 * and `gap` says how far they are from it. The integral is a midpoint sum: `steps` gradients, each in the middle of its
 * share of the path. The points of the path are entries of a batch in which an edit moves the activation towards the
 * baseline, so embeddings and inner activations are one case.
 */
import { HookError } from "../../errors.ts";
import { isEmbeds, MODEL_INPUT, type ModelInput, toIds } from "../../model/input.ts";
import { LONG_CALL_FIELDS, type LongCallOptions, reportProgress } from "../../model/long-call.ts";
import * as s from "../../schema/schema.ts";
import type { BackwardResult } from "../backward.ts";
import { readCall } from "../call.ts";
import { captureAlone } from "../capture.ts";
import type { Edit, EditValue } from "../edit.ts";
import type { HookedModel } from "../hooked-model.ts";
import { type CheckedMetric, gradientModeOf, type Metric } from "../metrics.ts";
import { againstClean, assertOneColumn, checkPair, sequenceOf } from "../patching/experiment.ts";
import { metricEnd } from "../patching/sites.ts";
import { resolvePoint } from "../points.ts";
import {
  sumPerPosition,
  TOKEN_SCORE_FIELDS,
  type TokenScoreOptions,
  type TokenScores,
  weigh,
  wholeAxis,
} from "./token-scores.ts";

/** Options of `integratedGradients`. */
export interface IntegratedGradientsOptions extends TokenScoreOptions, LongCallOptions {
  /**
   * Where the path begins: a prompt as long as `input`, whose activation at the point is taken, or embeddings
   * `{ inputsEmbeds }`. Default: an activation of zeros.
   */
  baseline?: ModelInput;
  /** Gradients along the path. Default 32. */
  steps?: number;
}

export const INTEGRATED_GRADIENTS_OPTIONS = s.object<IntegratedGradientsOptions>("the options of integratedGradients", {
  ...TOKEN_SCORE_FIELDS,
  baseline: MODEL_INPUT,
  steps: s.wholeFrom(1),
  ...LONG_CALL_FIELDS,
});

/** Attributions of a prompt's tokens, and whether they are complete. */
export interface IntegratedGradients extends TokenScores {
  /** The shape of the point without its batch axis. */
  readonly shape: readonly number[];
  /** The attribution of every entry of the activation; `scores` are their sums. */
  readonly attributions: Float32Array;
  /** The metric at the baseline. */
  readonly baseline: number;
  /** The sum of the attributions. */
  readonly sum: number;
  /** sum - (value - baseline): 0 for an exact integral. More steps make it smaller. */
  readonly gap: number;
}

/** Rows of one backward pass: what a path of many steps needs in memory is so bounded. */
const ROWS_PER_PASS = 256;

/**
 * Integrated gradients of a prompt's embeddings, or of the activation at a point, in batches of some 256 tokens.
 * @throws HookError `hook/patch-length` for a baseline of another length, `hook/same-prompts` for the input itself, `hook/metric` for a metric without a gradient
 * and for `metric.loss`; InputError `input/position-range`; otherwise as `backward`.
 */
export async function integratedGradients(
  model: HookedModel,
  given: IntegratedGradientsOptions,
): Promise<IntegratedGradients> {
  const options = readCall("integratedGradients", model, INTEGRATED_GRADIENTS_OPTIONS, given);
  const { at = "hook_embed", steps = 32, signal } = options;
  checkMetric(model, options.metric);
  resolvePoint(model.spec, at);
  const ids = sequenceOf(model, options.input, "input");
  const position = metricEnd(options.metricPosition, ids.length);
  const metric = await referenced(model, options.metric, ids, position, signal);
  const baseline = await baselineOf(model, options.baseline, at, ids, signal);
  try {
    const pass = (shares: readonly number[]) =>
      model.backward(
        shares.map(() => ids),
        {
          metric,
          position,
          at,
          signal,
          edits: shares.map((alpha, batch): Edit => ({ at, op: "lerp", alpha, value: baseline.value, batch })),
        },
      );
    return { at, positions: wholeAxis(model, ids), ...(await integrate(pass, at, steps, ids.length, options)) };
  } finally {
    baseline.destroy();
  }
}

/** @throws HookError `hook/metric` */
function checkMetric({ spec }: HookedModel, metric: Metric): void {
  assertOneColumn(metric);
  gradientModeOf(metric as CheckedMetric, spec);
  if (metric.kind === "loss")
    throw new HookError(
      "hook/metric",
      "metric.loss is one number for a whole batch; integratedGradients needs one for each point of the path. Use logProb at a position.",
    );
}

/** The metric; `kl()` compares with the prompt as it is. */
async function referenced(
  model: HookedModel,
  metric: Metric,
  ids: readonly number[],
  position: number,
  signal: AbortSignal | undefined,
): Promise<Metric> {
  if (metric.kind !== "kl" || metric.reference) return metric;
  using run = await model.forward([ids], { logits: [position], signal });
  return await againstClean(metric, run.logits);
}

/** What an edit sets the activation to for the baseline. */
async function baselineOf(
  model: HookedModel,
  input: ModelInput | undefined,
  at: string,
  ids: readonly number[],
  signal: AbortSignal | undefined,
): Promise<{ value: EditValue; destroy(): void }> {
  if (input === undefined) return { value: 0, destroy: () => undefined };
  const given = isEmbeds(input) ? [] : toIds(input, model);
  if (given.length === 1 && given[0]?.length === ids.length) checkPair("input", ids, "baseline", given[0]);
  const { cache, destroy } = await captureAlone(model, input, [at], { signal });
  const { positions } = cache;
  if (positions.length === 1 && positions[0]?.length === ids.length) return { value: cache.at(at), destroy };
  destroy();
  throw new HookError(
    "hook/patch-length",
    `The baseline has ${positions.map((list) => list.length).join(" and ")} tokens, the input ${ids.length}. Give one sequence of that length.`,
  );
}

/** Sums the gradients of all passes. `pass` takes how far towards the baseline each entry of its batch lies. */
async function integrate(
  pass: (shares: readonly number[]) => Promise<BackwardResult>,
  at: string,
  steps: number,
  length: number,
  options: s.Read<LongCallOptions>,
): Promise<Omit<IntegratedGradients, "at" | "positions">> {
  const middles = Array.from({ length: steps }, (_, step) => (step + 0.5) / steps);
  const perPass = Math.max(1, Math.floor(ROWS_PER_PASS / length));
  // Input and baseline themselves: their metric and their activations.
  using ends = await pass([0, 1]);
  const [value, baseline] = ends.value as unknown as [number, number];
  const shape = ends.cache.shape(at);
  const activations = await ends.cache.read(at);
  const size = activations.length / 2;
  const sums = new Float64Array(size);
  for (let first = 0; first < steps; first += perPass) {
    using part = await pass(middles.slice(first, first + perPass));
    for (const [index, gradient] of (await part.grads.read(at)).entries())
      sums[index % size] = (sums[index % size] as number) + gradient;
    await reportProgress(options, Math.min(first + perPass, steps), steps);
  }
  const attributions = sums.map((gradient, index) =>
    weigh((activations[index] as number) - (activations[size + index] as number), gradient / steps),
  );
  const sum = attributions.reduce((total, each) => total + each, 0);
  return {
    value,
    baseline,
    sum,
    gap: sum - (value - baseline),
    shape: shape.slice(1),
    attributions: Float32Array.from(attributions),
    scores: sumPerPosition(attributions, at, [1, ...shape.slice(1)]),
  };
}
