/**
 * Norms of rows, and the family of kernels that compute them in one step:
 *
 *   by row        a row an invocation         CPUs: no barrier; widths of whole vec4
 *   by workgroup  a row a workgroup           GPUs, and other widths
 *   reference     the three stages, in turn
 *
 * The tuner does not time them: on each CPU that was measured a row an invocation is at least twice as fast, or as fast for
 * one row (docs/decisions.md), and on a GPU it would leave all but a few invocations idle.
 */
import type { BufferSlice, Dispatch, Recorder } from "../gpu/recorder.ts";
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
}

/** What a kernel is chosen for. */
interface NormShape {
  readonly rows: number;
  readonly width: number;
}

interface NormOfRows extends NormShape {
  readonly spec: NormSpec;
  readonly weights: NormWeights;
}

/** Rows to norm; x [rows, width]. */
interface NormInput extends NormOfRows {
  readonly x: BufferSlice;
}

interface NormKernel extends Candidate<NormShape> {
  /** out[r] (+)= norm(x[r]) */
  record(recorder: Recorder, input: NormInput, out: BufferSlice, accumulate: boolean): void;
}

type NormParam = keyof typeof kernels.NORM.params;

/** What the fused norm and its stages share; a stage leaves the bindings it does not need unread. */
function normCall({ gpu }: Recorder, { rows, width, spec, weights }: NormOfRows, accumulate = false) {
  return {
    params: { rowCount: rows, width, eps: spec.eps, weightOffset: spec.weightOffset },
    workgroups: foldGrid(gpu, rows),
    constants: {
      SUBTRACT_MEAN: spec.kind === "layer" ? 1 : 0,
      HAS_WEIGHT: weights.w ? 1 : 0,
      HAS_BIAS: weights.b ? 1 : 0,
      ...(accumulate && { ACCUMULATE: 1 }),
    },
  } satisfies Omit<Dispatch<NormParam>, "buffers">;
}

const buffersOf = ({ gpu }: Recorder, x: BufferSlice, { w, b }: NormWeights, out: BufferSlice): BufferSlice[] => [
  x,
  w ?? gpu.zeros,
  b ?? gpu.zeros,
  out,
];

const byRow: NormKernel = {
  name: "by row",
  expectedOn: ["software"],
  fits: (_, { width }) => width % 4 === 0,
  record(recorder, input, out, accumulate) {
    recorder.dispatch(kernels.NORM_ROWS, {
      ...normCall(recorder, input, accumulate),
      buffers: buffersOf(recorder, input.x, input.weights, out),
      workgroups: foldGrid(recorder.gpu, Math.ceil(input.rows / 8)),
    });
  },
};

const byWorkgroup: NormKernel = {
  name: "by workgroup",
  expectedOn: ["software", "hardware"],
  fits: () => true,
  record(recorder, input, out, accumulate) {
    const call = normCall(recorder, input, accumulate);
    recorder.dispatch(kernels.NORM, {
      ...call,
      buffers: buffersOf(recorder, input.x, input.weights, out),
      constants: { ...call.constants, ...reduceConstants(recorder) },
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
  const call = normCall(recorder, { rows, width, spec, weights });
  const { zeros } = recorder.gpu;
  return {
    /** scales [rows] */
    scale: (x: BufferSlice, scales: BufferSlice) =>
      recorder.dispatch(kernels.NORM_SCALE, { ...call, buffers: [x, zeros, zeros, scales] }),
    normalize: (x: BufferSlice, scales: BufferSlice, out: BufferSlice) =>
      recorder.dispatch(kernels.NORM_NORMALIZE, { ...call, buffers: [x, scales, zeros, out] }),
    affine: (x: BufferSlice, out: BufferSlice, accumulate = false) =>
      recorder.dispatch(kernels.NORM_AFFINE, {
        ...normCall(recorder, { rows, width, spec, weights }, accumulate),
        buffers: buffersOf(recorder, x, weights, out),
      }),
  };
}
