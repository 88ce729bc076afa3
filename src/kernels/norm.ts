/**
 * Norms of rows, and the family of kernels that compute them in one step:
 *
 *   by row        one invocation for each row  CPUs: no barrier; widths of whole vec4
 *   by workgroup  one workgroup for each row   GPUs, and other widths
 *   reference     the three stages, in turn
 *
 * The tuner does not time them. On each CPU that was measured, "by row" is at least twice as fast, or as fast for one row
 * (docs/decisions.md). On a GPU it would leave all but a few invocations idle.
 */
import type { Constants } from "../gpu/kernel.ts";
import type { BufferSlice, Recorder } from "../gpu/recorder.ts";
import { foldGrid } from "../gpu/recorder.ts";
import * as kernels from "./definitions.ts";
import { type Candidate, KernelFamily } from "./family.ts";
import { reduceConstants } from "./launch.ts";
import type { NormWeights } from "./matrix.ts";

/** A norm of a vector x. */
export interface NormSpec {
  /** `layer`: (x - mean) / sqrt(var + eps); `rms`: x / sqrt(mean(x^2) + eps); `none`: identity. */
  kind: "layer" | "rms" | "none";
  eps: number;
  /** Added to the stored weight before it multiplies (gemma stores w - 1: offset 1). */
  weightOffset: number;
  /** False: it has neither weight nor bias (olmo, nanochat). True when absent. */
  affine?: boolean;
}

/** What a kernel is chosen for. */
interface NormShape {
  readonly rows: number;
  readonly width: number;
}

/** Rows to norm; x [rows, width]. */
interface NormInput extends NormShape {
  readonly x: BufferSlice;
  readonly spec: NormSpec;
  readonly weights: NormWeights;
}

interface NormKernel extends Candidate<NormShape> {
  /** out[r] (+)= norm(x[r]) */
  record(recorder: Recorder, input: NormInput, out: BufferSlice, accumulate: boolean): void;
}

/** What a norm and each of its stages are dispatched with. */
function normCall({ gpu }: Recorder, { rows, width }: NormShape, { eps, weightOffset }: NormSpec) {
  return { params: { rowCount: rows, width, eps, weightOffset }, workgroups: foldGrid(gpu, rows) };
}

const meanConstants = ({ kind }: NormSpec) => ({ SUBTRACT_MEAN: kind === "layer" ? 1 : 0 });

/** Built up rather than spread: norms are a quarter of all dispatches, and spreads would slow down recording. */
function affineConstants({ w, b }: NormWeights, accumulate: boolean): Record<string, number> {
  const constants: Record<string, number> = { HAS_WEIGHT: w ? 1 : 0, HAS_BIAS: b ? 1 : 0 };
  if (accumulate) constants.ACCUMULATE = 1;
  return constants;
}

function normConstants({ spec, weights }: NormInput, accumulate: boolean): Constants {
  const constants = affineConstants(weights, accumulate);
  constants.SUBTRACT_MEAN = meanConstants(spec).SUBTRACT_MEAN;
  return constants;
}

const affineBuffers = ({ gpu }: Recorder, x: BufferSlice, { w, b }: NormWeights, out: BufferSlice) => ({
  x,
  weights: w ?? gpu.zeros,
  bias: b ?? gpu.zeros,
  out,
});

const byRow: NormKernel = {
  name: "by row",
  expectedOn: ["software"],
  fits: (_, { width }) => width % 4 === 0,
  record(recorder, input, out, accumulate) {
    recorder.dispatch(kernels.NORM_ROWS, {
      ...normCall(recorder, input, input.spec),
      buffers: affineBuffers(recorder, input.x, input.weights, out),
      workgroups: foldGrid(recorder.gpu, Math.ceil(input.rows / 8)),
      constants: normConstants(input, accumulate),
    });
  },
};

const byWorkgroup: NormKernel = {
  name: "by workgroup",
  expectedOn: ["software", "hardware"],
  fits: () => true,
  record(recorder, input, out, accumulate) {
    recorder.dispatch(kernels.NORM, {
      ...normCall(recorder, input, input.spec),
      buffers: affineBuffers(recorder, input.x, input.weights, out),
      constants: { ...normConstants(input, accumulate), ...reduceConstants(recorder) },
    });
  },
};

const inStages: NormKernel = {
  name: "reference",
  expectedOn: [],
  fits: () => true,
  record(recorder, { x, rows, width, spec, weights }, out, accumulate) {
    const stages = normStages(recorder, rows, width, spec, weights);
    const scales = recorder.temp(rows, 1);
    const normalized = recorder.temp(rows, width);
    stages.scale(x, scales);
    stages.normalize(x, scales, normalized);
    stages.affine(normalized, out, accumulate);
    recorder.release(scales);
    recorder.release(normalized);
  },
};

export const NORM_FAMILY = new KernelFamily<NormShape, NormKernel>(
  "norm",
  [byRow, byWorkgroup],
  inStages,
  ({ width }) => (width % 4 === 0 ? "norm" : "norm, no whole vec4"),
);

/** out[r] (+)= norm(x[r]); x, out [rows, width]. */
export function norm(
  recorder: Recorder,
  x: BufferSlice,
  rows: number,
  width: number,
  spec: NormSpec,
  weights: NormWeights,
  out: BufferSlice,
  accumulate = false,
): void {
  const input = { x, rows, width, spec, weights };
  NORM_FAMILY.choose(recorder, input).record(recorder, input, out, accumulate);
}

/** The three stages of `norm`, each with its output; between them the caller may look or change. */
export function normStages(recorder: Recorder, rows: number, width: number, spec: NormSpec, weights: NormWeights) {
  const call = normCall(recorder, { rows, width }, spec);
  const constants = { ...meanConstants(spec), ...reduceConstants(recorder) };
  return {
    /** scales [rows] */
    scale: (x: BufferSlice, scales: BufferSlice) =>
      recorder.dispatch(kernels.NORM_SCALE, { ...call, buffers: { x, scales }, constants }),
    normalize: (x: BufferSlice, scales: BufferSlice, out: BufferSlice) =>
      recorder.dispatch(kernels.NORM_NORMALIZE, { ...call, buffers: { x, scales, out }, constants }),
    affine: (x: BufferSlice, out: BufferSlice, accumulate = false) =>
      recorder.dispatch(kernels.NORM_AFFINE, {
        ...call,
        buffers: affineBuffers(recorder, x, weights, out),
        constants: affineConstants(weights, accumulate),
      }),
  };
}
