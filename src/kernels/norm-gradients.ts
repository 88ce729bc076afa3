/** Gradients of norms, whole and in stages; formulas in `shaders/norm_gradient.wgsl`. */
import normGradientSource from "../../shaders/norm_gradient.wgsl";
import normShared from "../../shaders/norm_shared.wgsl";
import stageGradientSource from "../../shaders/norm_stage_gradients.wgsl";
import reduce from "../../shaders/reduce.wgsl";
import { defineKernel, f32, u32 } from "../gpu/kernel.ts";
import { type BufferSlice, foldGrid, type Recorder } from "../gpu/recorder.ts";
import { reduceConstants } from "./launch.ts";
import type { NormWeights } from "./matrix.ts";
import type { NormSpec } from "./norm.ts";
import type { View } from "./view.ts";

const NORM_GRADIENT = defineKernel({
  name: "norm gradient",
  sources: [reduce, normShared, normGradientSource],
  bindings: { x: "read", weights: "read", grad: "write" },
  params: {
    ...u32("rowCount", "width", "groups", "start", "rowStride", "gradStart", "gradStride", "weightStride"),
    ...f32("eps", "weightOffset"),
  },
});

function stageGradient(entryPoint: "scale" | "divisor") {
  return defineKernel({
    name: "norm stage gradient",
    entryPoint,
    sources: [reduce, normShared, stageGradientSource],
    // A stage leaves the bindings it does not need unread.
    bindings: { x: "read", scales: "read", grad: "read", out: "write" },
    params: { ...u32("rowCount", "width"), ...f32("eps") },
  });
}

const STAGES = {
  scale: stageGradient("scale"),
  divisor: stageGradient("divisor"),
};

/** The gradient of x [rows, heads, width] in place of that of its norm over `groups` vectors a row; weights a group, or one for all. */
function recordNormGradient(
  recorder: Recorder,
  x: View,
  grad: View,
  rows: number,
  spec: NormSpec,
  w: NormWeights["w"],
  { groups, weightStride, hasWeight }: { groups: number; weightStride: number; hasWeight: boolean },
): void {
  recorder.dispatch(NORM_GRADIENT, {
    params: {
      rowCount: rows,
      width: (x.heads * x.width) / groups,
      groups,
      start: x.start,
      rowStride: x.rowStride,
      gradStart: grad.start,
      gradStride: grad.rowStride,
      weightStride,
      eps: spec.eps,
      weightOffset: spec.weightOffset,
    },
    buffers: { x: x.buffer, weights: w ?? recorder.gpu.zeros, grad: grad.buffer },
    workgroups: foldGrid(recorder.gpu, rows * groups),
    constants: {
      SUBTRACT_MEAN: spec.kind === "layer" ? 1 : 0,
      HAS_WEIGHT: hasWeight ? 1 : 0,
      ...reduceConstants(recorder),
    },
  });
}

/** Of `norm`: the gradient of x in place of that of the result. */
export function normGradient(
  recorder: Recorder,
  x: View,
  grad: View,
  rows: number,
  spec: NormSpec,
  { w }: NormWeights,
): void {
  const whole = { groups: 1, weightStride: 0, hasWeight: w !== undefined };
  recordNormGradient(recorder, x, grad, rows, spec, w, whole);
}

/** Of `qkNorm`; absent weights count as zeros there. */
export function qkNormGradient(
  recorder: Recorder,
  x: View,
  grad: View,
  rows: number,
  spec: NormSpec,
  { w }: NormWeights,
  over: "head" | "perHead" | "full",
): void {
  const groups = over === "full" ? 1 : x.heads;
  const weightStride = over === "perHead" ? x.width : 0;
  recordNormGradient(recorder, x, grad, rows, spec, w, { groups, weightStride, hasWeight: true });
}

function recordStage(
  recorder: Recorder,
  stage: keyof typeof STAGES,
  [x, scales, grad]: readonly [View, BufferSlice, BufferSlice],
  rows: number,
  spec: Pick<NormSpec, "kind" | "eps">,
  out: View,
): void {
  recorder.dispatch(STAGES[stage], {
    params: { rowCount: rows, width: x.width, eps: spec.eps },
    buffers: { x: x.buffer, scales, grad, out: out.buffer },
    workgroups: foldGrid(recorder.gpu, rows),
    constants: { SUBTRACT_MEAN: spec.kind === "layer" ? 1 : 0, ...reduceConstants(recorder) },
  });
}

/** Of the divisor s: out = ds (x - mean) / (width s). */
export function normScaleGradient(
  recorder: Recorder,
  x: View,
  s: View,
  ds: View,
  rows: number,
  spec: NormSpec,
  out: View,
) {
  recordStage(recorder, "scale", [x, s.buffer, ds.buffer], rows, spec, out);
}

/** Of the normalized vector, as far as s is concerned: out [rows] = -(dy · y) / s. */
export function divisorGradient(recorder: Recorder, s: View, y: View, dy: View, rows: number, out: View) {
  recordStage(recorder, "divisor", [y, s.buffer, dy.buffer], rows, { kind: "rms", eps: 0 }, out);
}
