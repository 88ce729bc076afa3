/** What a sweep measures in each cell, computed on the GPU from one row of logits. */
import metricSource from "../../shaders/metric.wgsl";
import metricNumbers from "../../shaders/metric_numbers.wgsl";
import normalizerSource from "../../shaders/normalizer.wgsl";
import reduceSource from "../../shaders/reduce.wgsl";
import { HookError } from "../errors.ts";
import { defineKernel, u32 } from "../gpu/kernel.ts";
import { foldGrid, type Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { indexOfNoId, TOKEN_IDS } from "../model/input.ts";
import type { ModelSpec } from "../model/spec.ts";
import { isOneExpression } from "../ops/edit-call.ts";
import * as s from "../schema/schema.ts";
import { recordSum } from "./expression-metric.ts";
import { projectionOf } from "./projection.ts";

/** What a kind of metric is. */
interface MetricKind {
  /** Its case in `shaders/metric.wgsl`; without one it is for gradients alone. */
  readonly mode?: number;
  /** Its case in `shaders/metric_gradient.wgsl`; without one it has no gradient. */
  readonly gradientMode?: number;
  /** How many tokens it is about, at least and at most. */
  readonly tokens: readonly [least: number, most: number];
  /** Whether it reads the logits of its tokens alone, so that no others need be computed. */
  readonly readsOnlyTokens: boolean;
  /** Whether it has a column for each token rather than one. */
  readonly isWide?: boolean;
  /** Which of the fields beside `tokens` it has. */
  readonly fields?: readonly (typeof OWN_FIELDS)[number][];
}

/** Fields of some kinds alone. */
const OWN_FIELDS = ["reference", "mask", "term", "gradient", "weights", "at", "head"] as const;
/** The mode of an expression, which has a kernel of its own. */
const EXPRESSION = 7;

/** Every kind of metric; the functions of `metric` document them. */
const METRIC_KINDS = {
  logits: { mode: 0, gradientMode: 0, tokens: [1, Number.POSITIVE_INFINITY], readsOnlyTokens: true, isWide: true },
  logitDiff: { mode: 1, gradientMode: 1, tokens: [2, 2], readsOnlyTokens: true },
  logProb: { mode: 2, gradientMode: 2, tokens: [1, 1], readsOnlyTokens: false },
  prob: { mode: 3, gradientMode: 3, tokens: [1, 1], readsOnlyTokens: false },
  rank: { mode: 4, tokens: [1, 1], readsOnlyTokens: false },
  kl: { mode: 5, gradientMode: 4, tokens: [0, 0], readsOnlyTokens: false, fields: ["reference"] },
  weighted: { mode: 6, gradientMode: 5, tokens: [0, 0], readsOnlyTokens: false, fields: ["reference"] },
  loss: { gradientMode: 2, tokens: [0, 0], readsOnlyTokens: false, fields: ["mask"] },
  wgsl: {
    mode: EXPRESSION,
    gradientMode: 6,
    tokens: [0, 0],
    readsOnlyTokens: false,
    fields: ["term", "gradient", "weights"],
  },
  project: { mode: 6, gradientMode: 5, tokens: [0, 0], readsOnlyTokens: true, fields: ["reference", "at", "head"] },
} as const satisfies Record<string, MetricKind>;

const kindOf = ({ kind }: Metric): MetricKind => METRIC_KINDS[kind];

/** Made by the functions of `metric`. */
export interface Metric {
  /** Which number is taken of the logits. */
  readonly kind: keyof typeof METRIC_KINDS;
  /** The tokens it is about; none for `kl`. */
  readonly tokens: s.NumberList;
  /** Reference logits [vocab] of `kl`; undefined: those of the unedited run. Of `weighted`: the factor of each logit; of `project`: the vector. */
  readonly reference?: s.NumberList | undefined;
  /** Of `loss`: for each sequence the positions whose prediction of the next token counts; undefined: all but the last. */
  readonly mask?: readonly (readonly boolean[])[] | undefined;
  /** Of `wgsl`: what each token adds to the value. */
  readonly term?: string | undefined;
  /** Of `wgsl`: the gradient of each token's logit. */
  readonly gradient?: string | undefined;
  /** Of `wgsl`: a number for each token [vocab], `w` in its expressions. */
  readonly weights?: s.NumberList | undefined;
  /** Of `project`: the point that is measured. */
  readonly at?: string | undefined;
  /** Of `project`: the only head that counts. */
  readonly head?: number | undefined;
}

/** A metric as it is read. */
export interface CheckedMetric extends Metric {
  readonly tokens: readonly number[];
  readonly reference?: Float32Array | undefined;
  readonly weights?: Float32Array | undefined;
}

/** A metric of the caller's own, as WGSL expressions of a token; see docs/gradients.md. */
export interface WgslMetric {
  /** What the token adds to the value, in `logit`, `p`, `logP` (f32), `token` (u32) and, with weights, `w`. */
  term: string;
  /** The gradient of the token's logit, in the same names and `value`, the finished sum. For `backward` and attributions; sweeps need none. */
  gradient?: string;
  /** A number for each token [vocab]. */
  weights?: s.NumberList;
}

/** The metrics of sweeps and experiments; each is one number a cell (`logits`: one a token). Logarithms are natural. */
export const metric = {
  /** The logit of a token. */
  logit: (token: number): Metric => ({ kind: "logits", tokens: [token] }),
  /** The logits of several tokens; the result has one column for each. */
  logits: (tokens: s.NumberList): Metric => ({ kind: "logits", tokens }),
  /** logit(a) - logit(b). */
  logitDiff: (a: number, b: number): Metric => ({ kind: "logitDiff", tokens: [a, b] }),
  /** The probability of a token. */
  prob: (token: number): Metric => ({ kind: "prob", tokens: [token] }),
  /** Natural logarithm of the probability. */
  logProb: (token: number): Metric => ({ kind: "logProb", tokens: [token] }),
  /** Number of tokens with a larger logit: 0 for the most likely token. */
  rank: (token: number): Metric => ({ kind: "rank", tokens: [token] }),
  /** KL(reference || cell) in nats, sum of p (log p - log q); the reference is the unedited run unless logits [vocab] are given. */
  kl: (reference?: s.NumberList): Metric => ({ kind: "kl", tokens: [], reference }),
  /** The sum of weights[t] * logit(t); weights [vocab]. Its gradient of the logits is the weights. */
  weighted: (weights: s.NumberList): Metric => ({ kind: "weighted", tokens: [], reference: weights }),
  /**
   * The mean cross entropy of the next token in nats, over all sequences and positions, or those that `mask` [batch, pos]
   * counts: entry p is for the prediction at position p of the token at p + 1. For gradients, not for sweeps.
   */
  loss: (mask?: readonly (readonly boolean[])[]): Metric => ({ kind: "loss", tokens: [], mask }),
  /**
   * The sum over the vocabulary of an expression, with its gradient: `{ term: "-p * logP", gradient: "-p * (logP + value)" }` is
   * the entropy. The gradient is compared with finite differences of the value; sweeps do without one.
   */
  wgsl: (expressions: WgslMetric): Metric => ({ kind: "wgsl", tokens: [], ...expressions }),
  /**
   * The activation of a point, at the measured position, times a vector: of all its heads [heads, dims], or of one `head` [dims].
   * Its gradient of the activation is the vector.
   */
  project: (at: string, vector: s.NumberList, head?: number): Metric => ({
    kind: "project",
    tokens: [],
    at,
    reference: vector,
    ...(head !== undefined && { head }),
  }),
};

const metricFields = s.object<Metric, CheckedMetric>("a metric", {
  kind: s.required(s.oneOf(...(Object.keys(METRIC_KINDS) as Metric["kind"][]))),
  tokens: s.required(TOKEN_IDS),
  reference: s.numbers,
  mask: s.list("lists of true and false", s.list("true and false", s.flag)),
  term: s.text,
  gradient: s.text,
  weights: s.numbers,
  at: s.text,
  head: s.wholeFrom(0),
});

export const METRIC_SCHEMA = s.byForm<CheckedMetric>("a metric such as metric.logitDiff(a, b)", (value) =>
  typeof value === "object" && value !== null ? metricFields : undefined,
);
/** One metric or several. */
export const METRICS = s.oneOrMore("metrics", METRIC_SCHEMA);
const METRIC_LISTS = s.list("lists of metrics, one for each prompt", METRICS);
/** One metric or several for all prompts, or for each prompt a list. */
export const METRICS_OF_PROMPTS = s.byForm<readonly CheckedMetric[] | readonly (readonly CheckedMetric[])[]>(
  "a metric, a list of metrics, or for each prompt a list of them",
  (value) => (Array.isArray(value) && value.some(Array.isArray) ? METRIC_LISTS : METRICS),
);

const METRIC = defineKernel({
  name: "metric",
  sources: [reduceSource, normalizerSource, metricNumbers, metricSource],
  bindings: { logits: "read", tokens: "read", reference: "read", rows: "read", outputs: "write" },
  params: u32("rowCount", "vocab", "mode", "tokenCount", "outStart", "outStride", "referenceStart"),
});

/** Whether a metric reads the logits of its tokens alone, so that no others need be computed. */
export const readsOnlyTokens = (metric: Metric): boolean => kindOf(metric).readsOnlyTokens;

/** Whether a metric reads logits; else it reads a point. */
export const readsLogits = ({ kind }: Metric): boolean => kind !== "project";

/** Columns of a metric in the result. */
export const metricWidth = (metric: Metric): number => (kindOf(metric).isWide ? metric.tokens.length : 1);

/** What takes the metrics without a kernel for sweeps; edgeAttribution and integratedGradients refuse the loss. */
const GRADIENT_CALLS =
  "backward, saliency, gradientTimesActivation, integratedGradients, and edgeAttribution by gradients";

/** @throws HookError `hook/metric` for no metric, a token out of range or a reference of the wrong length. */
export function checkMetrics(metrics: readonly CheckedMetric[], spec: ModelSpec): void {
  if (metrics.length === 0) throw new HookError("hook/metric", "The list of metrics is empty. Give at least one.");
  for (const each of metrics) {
    if (kindOf(each).mode === undefined)
      throw new HookError(
        "hook/metric",
        `Metric ${each.kind} is for gradients alone: ${GRADIENT_CALLS}. Sweeps and what is made of them take all others.`,
      );
    checkMetric(each, spec);
  }
}

/** @throws HookError `hook/metric` as `checkMetrics`, and for metrics without a gradient or with several columns. */
export function gradientModeOf(metric: CheckedMetric, spec: ModelSpec): number {
  checkMetric(metric, spec);
  if (metric.kind === "wgsl" && metric.gradient === undefined)
    throw new HookError(
      "hook/expression",
      "Metric wgsl has no gradient, which is needed here. Give it beside term: metric.wgsl({ term, gradient }).",
    );
  const { gradientMode } = kindOf(metric);
  if (gradientMode === undefined) {
    throw new HookError(
      "hook/metric",
      `Metric ${metric.kind} takes whole numbers, so it has no gradient. Use logit, logitDiff, logProb, prob, kl, loss or wgsl.`,
    );
  }
  if (metricWidth(metric) !== 1)
    throw new HookError(
      "hook/metric",
      `backward() takes one number; metric logits gives ${metric.tokens.length}. Use metric.logit.`,
    );
  return gradientMode;
}

function checkMetric(metric: CheckedMetric, spec: ModelSpec): void {
  const { kind, tokens, reference } = metric;
  const { vocabSize } = spec;
  const bad = indexOfNoId(tokens, vocabSize);
  if (bad >= 0)
    throw new HookError(
      "hook/metric",
      `Metric ${kind}: token ${String(tokens[bad])} is out of range; ids go from 0 to ${vocabSize - 1}.`,
    );
  const [least, most] = kindOf(metric).tokens;
  if (tokens.length < least || tokens.length > most) {
    const count = least === most ? `${least}` : `at least ${least}`;
    throw new HookError("hook/metric", `Metric ${kind} takes ${count} tokens, and got ${tokens.length}.`);
  }
  const own: readonly string[] = kindOf(metric).fields ?? [];
  for (const field of OWN_FIELDS)
    if (metric[field] !== undefined && !own.includes(field)) s.refuseIdle("metric", field, `in a metric of ${kind}`);
  if (kind === "weighted" && !reference)
    throw new HookError("hook/metric", "Metric weighted needs a factor for each logit: metric.weighted(weights).");
  if (kind === "wgsl") checkExpressions(metric);
  if (kind === "project") projectionOf(spec, metric);
  else checkLength(kind, "the reference", reference, "logits", vocabSize);
  checkLength(kind, "weights", metric.weights, "numbers", vocabSize);
}

/** @throws HookError `hook/metric` for a list that is not as long as the vocabulary */
function checkLength(
  kind: string,
  name: string,
  list: Float32Array | undefined,
  entries: string,
  vocabSize: number,
): void {
  if (list && list.length !== vocabSize)
    throw new HookError(
      "hook/metric",
      `Metric ${kind}: ${name} has ${list.length} ${entries}; the vocabulary has ${vocabSize}.`,
    );
}

/** @throws HookError `hook/expression` or `hook/no-value`, as an edit with an expression */
function checkExpressions({ term, gradient, weights }: CheckedMetric): void {
  for (const [name, expression] of Object.entries({ term, gradient: gradient ?? "0.0" })) {
    if (expression === undefined || !isOneExpression(expression))
      throw new HookError(
        "hook/expression",
        `Metric wgsl: ${name} must be a single WGSL expression, and is ${JSON.stringify(expression)}.`,
      );
  }
  const reads = (name: RegExp) => [term, gradient].some((expression) => expression && name.test(expression));
  if (/\bvalue\b/.test(term as string))
    throw new HookError(
      "hook/expression",
      "Metric wgsl: term reads value, which is the finished sum of the terms. It is for gradient alone.",
    );
  if (reads(/\bw\b/) !== (weights !== undefined))
    throw new HookError(
      "hook/no-value",
      `Metric wgsl: ${weights ? "its expressions do not read w, its weights. Leave weights out." : "its expressions read w, so it needs weights [vocab]."}`,
    );
}

/** The numbers that a metric brings along: logits to compare with, weights, or a vector for what it projects. */
export function numbersOf(metric: CheckedMetric, spec: ModelSpec): Float32Array | undefined {
  return readsLogits(metric) ? (metric.reference ?? metric.weights) : projectionOf(spec, metric).row;
}

export interface MetricCall {
  /** [rows, vocab]; of `project` the activations, as long as its vector. */
  logits: Tensor;
  /** The rows that are measured: of the logits, and of `outputs`. */
  rows: readonly (readonly [row: number, output: number])[];
  vocab: number;
  /** Logits that `kl` compares with, or the metric's own numbers: [vocab] from `referenceStart` (0) on. */
  reference: Tensor;
  referenceStart?: number;
  outputs: Tensor;
  outStart: number;
  outStride: number;
}

export function recordMetric(recorder: Recorder, metric: Metric, call: MetricCall): void {
  const { tokens } = metric;
  if (kindOf(metric).mode === EXPRESSION) {
    const weights = { weights: call.reference, weightsStart: call.referenceStart ?? 0 };
    recordSum(recorder, metric as CheckedMetric, { ...call, ...weights });
    return;
  }
  recorder.dispatch(METRIC, {
    params: {
      rowCount: call.rows.length,
      vocab: call.vocab,
      mode: kindOf(metric).mode as number,
      tokenCount: tokens.length,
      outStart: call.outStart,
      outStride: call.outStride,
      referenceStart: call.referenceStart ?? 0,
    },
    buffers: {
      logits: call.logits,
      tokens: tokens.length > 0 ? recorder.upload(Uint32Array.from(tokens)) : recorder.gpu.zeros,
      reference: call.reference,
      rows: recorder.upload(Uint32Array.from(call.rows.flat())),
      outputs: call.outputs,
    },
    workgroups: foldGrid(recorder.gpu, call.rows.length),
  });
}
