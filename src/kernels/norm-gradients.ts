/** Gradients of norms, whole and in stages; formulas in `shaders/norm_gradient_shared.wgsl`. */
import normGradientSource from "../../shaders/norm_gradient.wgsl";
import keepSource from "../../shaders/norm_gradient_keep.wgsl";
import normGradientRows from "../../shaders/norm_gradient_rows.wgsl";
import gradientShared from "../../shaders/norm_gradient_shared.wgsl";
import normShared from "../../shaders/norm_shared.wgsl";
import stageGradientSource from "../../shaders/norm_stage_gradients.wgsl";
import reduce from "../../shaders/reduce.wgsl";
import { defineKernel, f32, u32 } from "../gpu/kernel.ts";
import { type BufferSlice, foldGrid, type Recorder } from "../gpu/recorder.ts";
import { reduceConstants } from "./launch.ts";
import type { NormWeights } from "./matrix.ts";
import type { NormSpec } from "./norm.ts";
import type { View } from "./view.ts";

/** In place alone, or with dy * y beside it. */
function normGradientKernels(name: string, sources: readonly string[]) {
  const params = {
    ...u32("rowCount", "width", "groups", "start", "rowStride", "gradStart", "gradStride", "weightStride"),
    ...f32("eps", "weightOffset"),
  };
  const bindings = { x: "read", weights: "read", grad: "write" } as const;
  return {
    alone: defineKernel({
      name,
      sources: [gradientShared, "fn keep(at: u32, value: Element) {}", ...sources],
      bindings,
      params,
    }),
    kept: defineKernel({
      name: `${name} kept`,
      sources: [gradientShared, keepSource, ...sources],
      bindings: { ...bindings, product: "write" },
      params,
    }),
  };
}

/** An invocation a vector on CPUs, for whole vec4; else a workgroup. See `NORM_FAMILY`. */
const BY_ROW = normGradientKernels("norm gradient rows", [normGradientRows]);
const BY_WORKGROUP = normGradientKernels("norm gradient", [
  "alias Element = f32;",
  reduce,
  normShared,
  normGradientSource,
]);

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

/**
 * The gradient of x [rows, heads, width] in place of that of its norm over `groups` vectors a row; weights a group, or one for
 * all. `product` gets dy * y, as x would lie packed.
 */
function recordNormGradient(
  recorder: Recorder,
  x: View,
  grad: View,
  rows: number,
  spec: NormSpec,
  w: NormWeights["w"],
  { groups, weightStride, hasWeight }: { groups: number; weightStride: number; hasWeight: boolean },
  product?: BufferSlice,
): void {
  const { gpu } = recorder;
  const width = (x.heads * x.width) / groups;
  const places = [width, x.start, x.rowStride, grad.start, grad.rowStride];
  const byRow = gpu.host.adapterInfo.isSoftware && places.every((place) => place % 4 === 0);
  const kernels = byRow ? BY_ROW : BY_WORKGROUP;
  const call = {
    params: {
      rowCount: rows,
      width,
      groups,
      start: x.start,
      rowStride: x.rowStride,
      gradStart: grad.start,
      gradStride: grad.rowStride,
      weightStride,
      eps: spec.eps,
      weightOffset: spec.weightOffset,
    },
    workgroups: foldGrid(gpu, byRow ? Math.ceil((rows * groups) / 8) : rows * groups),
    constants: {
      SUBTRACT_MEAN: spec.kind === "layer" ? 1 : 0,
      HAS_WEIGHT: hasWeight ? 1 : 0,
      ...(byRow ? {} : reduceConstants(recorder)),
    },
  };
  const buffers = { x: x.buffer, weights: w ?? gpu.zeros, grad: grad.buffer };
  if (product) recorder.dispatch(kernels.kept, { ...call, buffers: { ...buffers, product } });
  else recorder.dispatch(kernels.alone, { ...call, buffers });
}

/** Of `norm` of each vector: the gradient of x in place of that of the result; `product` gets what the weight's is the sum of. */
export function normGradient(
  recorder: Recorder,
  x: View,
  grad: View,
  rows: number,
  spec: NormSpec,
  { w }: NormWeights,
  product?: BufferSlice,
): void {
  const each = { groups: x.heads, weightStride: 0, hasWeight: w !== undefined };
  recordNormGradient(recorder, x, grad, rows, spec, w, each, product);
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
  const vectors = rows * x.heads;
  recorder.dispatch(STAGES[stage], {
    params: { rowCount: vectors, width: x.width, eps: spec.eps },
    buffers: { x: x.buffer, scales, grad, out: out.buffer },
    workgroups: foldGrid(recorder.gpu, vectors),
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

/** Of the normalized vector, as far as s is concerned: out [rows, heads] = -(dy · y) / s. */
export function divisorGradient(recorder: Recorder, s: View, y: View, dy: View, rows: number, out: View) {
  recordStage(recorder, "divisor", [y, s.buffer, dy.buffer], rows, { kind: "rms", eps: 0 }, out);
}
