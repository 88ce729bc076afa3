/**
 * A metric of the caller's own: two WGSL expressions, of what a token adds to the value and of the gradient of its logit.
 *
 * A gradient that does not belong to the value would make everything wrong that is computed from it, and nothing would show it.
 * So every call compares the two, along one direction d of the logits: gradient·d with the value's central difference.
 * A right pair must never be refused. The tolerance is therefore measured by the same kernel at the same logits: how much the
 * terms bend within a step (this covers curvature, corners as of max, and the rounding of the terms), and what an error of the
 * softmax's normalizer would do. A metric that a step does not resolve is not checked: when the bend is not small beside the change, or half
 * the step gives another difference.
 */
import metricExpression from "../../shaders/metric_expression.wgsl";
import metricExpressions from "../../shaders/metric_expressions.wgsl";
import metricSum from "../../shaders/metric_sum.wgsl";
import normalizer from "../../shaders/normalizer.wgsl";
import reduce from "../../shaders/reduce.wgsl";
import { HookError } from "../errors.ts";
import { defineKernel, type Kernel, u32 } from "../gpu/kernel.ts";
import { MOST_TRANSIENT } from "../gpu/pipelines.ts";
import { RecentMap } from "../gpu/recent.ts";
import { foldGrid, type Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { reduceConstants } from "../kernels/launch.ts";
import type { View } from "../kernels/view.ts";

const PARAMS = u32("rowCount", "vocab", "logitsStart", "weightsStart");
const BINDINGS = {
  logits: "read",
  rows: "read",
  weights: "read",
  values: "write",
  checks: "write",
  out: "write",
} as const;

const HINT =
  "The expressions of metric.wgsl read logit, p, logP (f32), token (u32), with weights w (f32), in gradient also value (f32), and WGSL's own functions; each is an f32.";

type ExpressionKernel = Kernel<keyof typeof PARAMS, keyof typeof BINDINGS>;
/** A metric that is an expression: what each token adds, the gradient of its logit where it has one, and weights [vocab]. */
export interface Expressions {
  readonly term?: string | undefined;
  readonly gradient?: string | undefined;
  readonly weights?: Float32Array | undefined;
}

const kernels = new RecentMap<string, ExpressionKernel>(MOST_TRANSIENT);

/** The kernel of two expressions, of those used last. */
export function expressionKernel({ term, gradient }: Expressions): ExpressionKernel {
  const name = `metric wgsl of term ${term}, gradient ${gradient}`;
  return kernels.getOrMake(name, () => {
    const sources = [reduce, normalizer, functionsOf({ term, gradient }), metricExpression];
    return defineKernel({ name, sources, bindings: BINDINGS, params: PARAMS, transient: true, hint: HINT });
  });
}

const functionsOf = ({ term, gradient }: Expressions) =>
  metricExpressions.replace("TERM;", () => `${term};`).replace("GRADIENT;", () => `${gradient};`);

const SUM_PARAMS = u32("rowCount", "vocab", "weightsStart", "outStart", "outStride");
const SUM_BINDINGS = { logits: "read", rows: "read", weights: "read", outputs: "write" } as const;
type SumKernel = Kernel<keyof typeof SUM_PARAMS, keyof typeof SUM_BINDINGS>;
const sumKernels = new RecentMap<string, SumKernel>(MOST_TRANSIENT);

/** The kernel of the value alone, as sweeps measure it. */
export function sumKernel({ term }: Expressions): SumKernel {
  const name = `metric wgsl of term ${term}`;
  return sumKernels.getOrMake(name, () => {
    const sources = [reduce, normalizer, functionsOf({ term, gradient: "0.0" }), metricSum];
    const shared = { transient: true, hint: HINT } as const;
    return defineKernel({ name, sources, bindings: SUM_BINDINGS, params: SUM_PARAMS, ...shared });
  });
}

export interface ExpressionCall {
  logits: View;
  /** Rows of the logits that are measured; values and gradients of the others stay. */
  rows: readonly number[];
  /** Weights, if any, from `weightsStart` on. */
  weights: Tensor;
  weightsStart: number;
  values: Tensor;
  /** [rows of the logits, CHECKS], for `checkGradient`. */
  checks: Tensor;
  out: View;
}

/** Numbers of the check of a row. */
export const CHECKS = 8;

export function recordExpression(recorder: Recorder, metric: Expressions, call: ExpressionCall): void {
  const { logits, rows, weights, weightsStart, values, checks, out } = call;
  recorder.dispatch(expressionKernel(metric), {
    params: { rowCount: rows.length, vocab: logits.width, logitsStart: logits.start, weightsStart },
    buffers: {
      logits: logits.buffer,
      rows: recorder.upload(Uint32Array.from(rows)),
      weights,
      values,
      checks,
      out: out.buffer,
    },
    workgroups: foldGrid(recorder.gpu, rows.length),
    constants: { ...reduceConstants(recorder), WEIGHTED: metric.weights ? 1 : 0 },
  });
}

/** Rows of logits [rows, vocab], and where the value of each goes. */
export interface SumCall {
  logits: Tensor;
  rows: readonly (readonly [row: number, output: number])[];
  vocab: number;
  weights: Tensor;
  weightsStart: number;
  outputs: Tensor;
  outStart: number;
  outStride: number;
}

/** The value of a metric, without its gradient. */
export function recordSum(recorder: Recorder, metric: Expressions, call: SumCall): void {
  const { logits, rows, vocab, weights, weightsStart, outputs, outStart, outStride } = call;
  recorder.dispatch(sumKernel(metric), {
    params: { rowCount: rows.length, vocab, weightsStart, outStart, outStride },
    buffers: { logits, rows: recorder.upload(Uint32Array.from(rows.flat())), weights, outputs },
    workgroups: foldGrid(recorder.gpu, rows.length),
    constants: { ...reduceConstants(recorder), WEIGHTED: metric.weights ? 1 : 0 },
  });
}

/** Of what the logits' change does to the terms; a sum in float32 is right to some 1e-5. */
const RELATIVE_TOLERANCE = 1e-3;
/** A change with more bend than this share of it is not resolved by the step. */
const MOST_BEND = 0.1;
/** Below this float32 loses digits to underflow. */
const LEAST = 1e-30;

/**
 * Judges what the kernel found in a row.
 * @throws HookError `hook/metric-value` for NaN and infinities, `hook/metric-gradient` for a gradient of something else
 */
export function checkGradient({ term, gradient }: Expressions, value: number, numbers: Float32Array): void {
  const [slope, difference, halfDifference, change, rounding, bend, noise, notFinite] =
    numbers as Iterable<number> as FoundInRow;
  if (!Number.isFinite(value) || notFinite > 0) {
    const what = Number.isFinite(value)
      ? `gradient ${gradient} is NaN or infinite for ${notFinite} tokens`
      : `term ${term} sums to ${value}`;
    throw new HookError(
      "hook/metric-value",
      `Metric wgsl: ${what}. Guard what is not a number, such as 0 times the logarithm of 0: select(-p * logP, 0.0, p == 0.0). If the logits are no numbers, load with checkFinite.`,
    );
  }
  const tolerance = bend + noise + rounding + RELATIVE_TOLERANCE * change + LEAST;
  const isResolved = bend + noise <= MOST_BEND * change && Math.abs(difference - halfDifference) <= tolerance;
  if (!isResolved || !(Math.abs(slope - difference) > tolerance)) return;
  throw new HookError(
    "hook/metric-gradient",
    `Metric wgsl: gradient ${gradient} is not that of the sum of ${term}. Along a direction of the logits the sum changes by ${difference.toPrecision(4)} a unit; the gradient says ${slope.toPrecision(4)}. Correct it; a gradient alone, without its metric, goes in metric.weighted(gradient).`,
  );
}

/** What `shaders/metric_expression.wgsl` writes for each row, in its order. */
type FoundInRow = [
  slope: number,
  difference: number,
  halfDifference: number,
  change: number,
  rounding: number,
  bend: number,
  noise: number,
  notFinite: number,
];
