/** xIELU, the activation whose shape is learnt; see shaders/xielu.wgsl. */
import reduce from "../../shaders/reduce.wgsl";
import shared from "../../shaders/xielu.wgsl";
import alphaGradientSource from "../../shaders/xielu_alpha_gradient.wgsl";
import applySource from "../../shaders/xielu_apply.wgsl";
import gradientSource from "../../shaders/xielu_gradient.wgsl";
import { defineKernel, u32 } from "../gpu/kernel.ts";
import { type BufferSlice, foldGrid, type Recorder } from "../gpu/recorder.ts";
import { elementGrid, reduceConstants } from "./launch.ts";
import type { View } from "./view.ts";

/** The numbers that shape it. */
export interface XieluWeights {
  /** [2]: of the right side and of the left, before softplus. */
  readonly alphas: BufferSlice;
  /** [2]: beta, eps. */
  readonly constants: BufferSlice;
}

const WEIGHTS = { alphas: "read", constants: "read" } as const;

const APPLY = defineKernel({
  name: "xielu",
  sources: [shared, applySource],
  bindings: { ...WEIGHTS, x: "write" },
  params: u32("count", "start"),
});

const GRADIENT = defineKernel({
  name: "xielu gradient",
  sources: [shared, gradientSource],
  bindings: { ...WEIGHTS, x: "read", dy: "write" },
  params: u32("count", "start", "gradStart"),
});

const ALPHA_GRADIENT = defineKernel({
  name: "xielu alpha gradient",
  sources: [reduce, shared, alphaGradientSource],
  bindings: { ...WEIGHTS, x: "read", dy: "read", out: "write" },
  params: u32("rowCount", "width", "start", "gradStart"),
});

/** x = xielu(x), in place; packed [rows, heads, width]. */
export function xielu(recorder: Recorder, x: View, rows: number, weights: XieluWeights): void {
  const count = rows * x.heads * x.width;
  recorder.dispatch(APPLY, {
    params: { count, start: x.start },
    buffers: { ...weights, x: x.buffer },
    workgroups: elementGrid(recorder, count),
  });
}

/** dy *= xielu'(x), in place; both packed, as many. */
export function xieluGradient(recorder: Recorder, x: View, dy: View, rows: number, weights: XieluWeights): void {
  const count = rows * x.heads * x.width;
  recorder.dispatch(GRADIENT, {
    params: { count, start: x.start, gradStart: dy.start },
    buffers: { ...weights, x: x.buffer, dy: dy.buffer },
    workgroups: elementGrid(recorder, count),
  });
}

/** out [rows, 2]: what each row gives to the gradients of the alphas. */
export function xieluAlphaGradient(
  recorder: Recorder,
  x: View,
  dy: View,
  rows: number,
  weights: XieluWeights,
  out: View,
): void {
  recorder.dispatch(ALPHA_GRADIENT, {
    params: { rowCount: rows, width: x.heads * x.width, start: x.start, gradStart: dy.start },
    buffers: { ...weights, x: x.buffer, dy: dy.buffer, out: out.buffer },
    workgroups: foldGrid(recorder.gpu, rows),
    constants: reduceConstants(recorder),
  });
}
