/** Operations on each element of queries, keys or values, or of hidden layers, in place, wherever these lie in their rows. */
import clampSource from "../../shaders/clamp.wgsl";
import clampGradientSource from "../../shaders/clamp_gradient.wgsl";
import positionScaleSource from "../../shaders/position_scale.wgsl";
import { defineKernel, f32, u32 } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { elementGrid } from "./launch.ts";
import type { View } from "./view.ts";

const PLACE = u32("rowCount", "width", "start", "rowStride");

const CLAMP = defineKernel({
  name: "clamp",
  sources: clampSource,
  bindings: { x: "write" },
  params: { ...PLACE, ...f32("least", "most", "plus") },
});

const CLAMP_GRADIENT = defineKernel({
  name: "clamp gradient",
  sources: clampGradientSource,
  bindings: { x: "read", grad: "write" },
  params: { ...PLACE, ...u32("gradStart", "gradStride"), ...f32("least", "most") },
});

const POSITION_SCALE = defineKernel({
  name: "position scale",
  sources: positionScaleSource,
  bindings: { rowTable: "read", x: "write" },
  params: { ...PLACE, ...f32("factor", "span", "shift") },
});

function placeOf({ start, rowStride, heads, width }: View, rowCount: number) {
  return { rowCount, width: heads * width, start, rowStride };
}

/** Bounds, and a number added to what lies within them. */
export interface Bounds {
  readonly least: number;
  readonly most: number;
  readonly plus: number;
}

/** x = min(max(x, least), most) + plus */
export function clamp(recorder: Recorder, x: View, rows: number, { least, most, plus }: Bounds): void {
  recorder.dispatch(CLAMP, {
    params: { ...placeOf(x, rows), least, most, plus },
    buffers: { x: x.buffer },
    workgroups: elementGrid(recorder, rows * x.heads * x.width),
  });
}

/** grad = 0 where x is out of bounds */
export function clampGradient(
  recorder: Recorder,
  x: View,
  grad: View,
  rows: number,
  { least, most }: Pick<Bounds, "least" | "most">,
): void {
  recorder.dispatch(CLAMP_GRADIENT, {
    params: { ...placeOf(x, rows), gradStart: grad.start, gradStride: grad.rowStride, least, most },
    buffers: { x: x.buffer, grad: grad.buffer },
    workgroups: elementGrid(recorder, rows * x.heads * x.width),
  });
}

/** x *= 1 + factor * log(1 + floor((position + shift) / span)), by the positions of the row table. */
export function positionScale(
  recorder: Recorder,
  x: View,
  rows: number,
  rowTable: Tensor,
  { factor, span, shift }: { factor: number; span: number; shift: number },
): void {
  recorder.dispatch(POSITION_SCALE, {
    params: { ...placeOf(x, rows), factor, span, shift },
    buffers: { rowTable, x: x.buffer },
    workgroups: elementGrid(recorder, rows * x.heads * x.width),
  });
}
