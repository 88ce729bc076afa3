/** What a sweep measures in each cell, computed on the GPU from one row of logits. */
import metricSource from "../../shaders/metric.wgsl";
import reduceSource from "../../shaders/reduce.wgsl";
import { HookError } from "../errors.ts";
import { defineKernel, u32 } from "../gpu/kernel.ts";
import { foldGrid, type Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { indexOfNoId, TOKEN_IDS } from "../model/input.ts";
import * as s from "../schema/schema.ts";

/** What a kind of metric is. */
interface MetricKind {
  /** Its case in `shaders/metric.wgsl`; without one it is for `backward` alone. */
  readonly mode?: number;
  /** Its case in `shaders/metric_gradient.wgsl`; without one it has no gradient. */
  readonly gradientMode?: number;
  /** How many tokens it is about, at least and at most. */
  readonly tokens: readonly [least: number, most: number];
  /** Whether it reads the logits of its tokens alone, so that no others need be computed. */
  readonly readsOnlyTokens: boolean;
  /** Whether it has a column for each token rather than one. */
  readonly isWide?: boolean;
}

/** Every kind of metric; the functions of `metric` document them. */
const METRIC_KINDS = {
  logits: { mode: 0, gradientMode: 0, tokens: [1, Number.POSITIVE_INFINITY], readsOnlyTokens: true, isWide: true },
  logitDiff: { mode: 1, gradientMode: 1, tokens: [2, 2], readsOnlyTokens: true },
  logProb: { mode: 2, gradientMode: 2, tokens: [1, 1], readsOnlyTokens: false },
  prob: { mode: 3, gradientMode: 3, tokens: [1, 1], readsOnlyTokens: false },
  rank: { mode: 4, tokens: [1, 1], readsOnlyTokens: false },
  kl: { mode: 5, gradientMode: 4, tokens: [0, 0], readsOnlyTokens: false },
  weighted: { gradientMode: 5, tokens: [0, 0], readsOnlyTokens: false },
  loss: { gradientMode: 2, tokens: [0, 0], readsOnlyTokens: false },
} as const satisfies Record<string, MetricKind>;

const kindOf = ({ kind }: Metric): MetricKind => METRIC_KINDS[kind];

/** Made by the functions of `metric`. */
export interface Metric {
  /** Which number is taken of the logits. */
  readonly kind: keyof typeof METRIC_KINDS;
  /** The tokens it is about; none for `kl`. */
  readonly tokens: s.NumberList;
  /** Reference logits [vocab] of `kl`; undefined: those of the unedited run. Of `weighted`: the factor of each logit. */
  readonly reference?: s.NumberList | undefined;
  /** Of `loss`: for each sequence the positions whose prediction of the next token counts; undefined: all but the last. */
  readonly mask?: readonly (readonly boolean[])[] | undefined;
}

/** A metric as it is read. */
export interface CheckedMetric extends Metric {
  readonly tokens: readonly number[];
  readonly reference?: Float32Array | undefined;
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
  /** The sum of weights[t] * logit(t); weights [vocab]. Its gradient of the logits is the weights. For `backward` alone. */
  weighted: (weights: s.NumberList): Metric => ({ kind: "weighted", tokens: [], reference: weights }),
  /**
   * The mean cross entropy of the next token in nats, over all sequences and positions, or those that `mask` [batch, pos]
   * counts: entry p is for the prediction at position p of the token at p + 1. For `backward` alone.
   */
  loss: (mask?: readonly (readonly boolean[])[]): Metric => ({ kind: "loss", tokens: [], mask }),
};

const metricFields = s.object<Metric, CheckedMetric>("a metric", {
  kind: s.required(s.oneOf(...(Object.keys(METRIC_KINDS) as Metric["kind"][]))),
  tokens: s.required(TOKEN_IDS),
  reference: s.numbers,
  mask: s.list("lists of true and false", s.list("true and false", s.flag)),
});

export const METRIC_SCHEMA = s.byForm<CheckedMetric>("a metric such as metric.logitDiff(a, b)", (value) =>
  typeof value === "object" && value !== null ? metricFields : undefined,
);
/** One metric or several. */
export const METRICS = s.oneOrMore("metrics", METRIC_SCHEMA);

const METRIC = defineKernel({
  name: "metric",
  sources: [reduceSource, metricSource],
  bindings: { logits: "read", tokens: "read", reference: "read", outIndex: "read", outputs: "write" },
  params: u32("rowCount", "vocab", "mode", "tokenCount", "outStart", "outStride"),
});

/** Whether a metric reads the logits of its tokens alone, so that no others need be computed. */
export const readsOnlyTokens = (metric: Metric): boolean => kindOf(metric).readsOnlyTokens;

/** Columns of a metric in the result. */
export const metricWidth = (metric: Metric): number => (kindOf(metric).isWide ? metric.tokens.length : 1);

/** @throws HookError `hook/metric` for no metric, a token out of range or a reference of the wrong length. */
export function checkMetrics(metrics: readonly CheckedMetric[], vocabSize: number): void {
  if (metrics.length === 0) throw new HookError("hook/metric", "The list of metrics is empty. Give at least one.");
  for (const each of metrics) {
    if (kindOf(each).mode === undefined)
      throw new HookError("hook/metric", `Metric ${each.kind} is for backward() alone.`);
    checkMetric(each, vocabSize);
  }
}

/** @throws HookError `hook/metric` as `checkMetrics`, and for metrics without a gradient or with several columns. */
export function gradientModeOf(metric: CheckedMetric, vocabSize: number): number {
  checkMetric(metric, vocabSize);
  const { gradientMode } = kindOf(metric);
  if (gradientMode === undefined) {
    throw new HookError(
      "hook/metric",
      `Metric ${metric.kind} takes whole numbers, so it has no gradient. Use logit, logitDiff, logProb, prob, kl or loss.`,
    );
  }
  if (metricWidth(metric) !== 1)
    throw new HookError(
      "hook/metric",
      `backward() takes one number; metric logits gives ${metric.tokens.length}. Use metric.logit.`,
    );
  return gradientMode;
}

function checkMetric(metric: CheckedMetric, vocabSize: number): void {
  const { kind, tokens, reference } = metric;
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
  if (reference && kind !== "kl" && kind !== "weighted")
    s.refuseIdle("metric", "reference", `in a metric of ${kind}; it is for kl and weighted`);
  if (metric.mask && kind !== "loss") s.refuseIdle("metric", "mask", `in a metric of ${kind}; it is for loss`);
  if (kind === "weighted" && !reference)
    throw new HookError("hook/metric", "Metric weighted needs a factor for each logit: metric.weighted(weights).");
  if (reference && reference.length !== vocabSize) {
    throw new HookError(
      "hook/metric",
      `Metric ${kind}: the reference has ${reference.length} logits; the vocabulary has ${vocabSize}.`,
    );
  }
}

export interface MetricCall {
  /** [rows, vocab]. */
  logits: Tensor;
  rows: number;
  vocab: number;
  /** Logits [vocab] that `kl` compares with. */
  reference: Tensor;
  /** For each row, the row of `outputs` it belongs to. */
  outIndex: Tensor;
  outputs: Tensor;
  outStart: number;
  outStride: number;
}

export function recordMetric(recorder: Recorder, metric: Metric, call: MetricCall): void {
  const { tokens } = metric;
  recorder.dispatch(METRIC, {
    params: {
      rowCount: call.rows,
      vocab: call.vocab,
      mode: kindOf(metric).mode as number,
      tokenCount: tokens.length,
      outStart: call.outStart,
      outStride: call.outStride,
    },
    buffers: {
      logits: call.logits,
      tokens: tokens.length > 0 ? recorder.upload(Uint32Array.from(tokens)) : recorder.gpu.zeros,
      reference: call.reference,
      outIndex: call.outIndex,
      outputs: call.outputs,
    },
    workgroups: foldGrid(recorder.gpu, call.rows),
  });
}
