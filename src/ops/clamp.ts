/** Numbers kept within bounds, in place, and a number added: the clamped SwiGLU of gpt_oss. */
import { clampTo } from "../kernels/experts.ts";
import type { View } from "../kernels/view.ts";
import { MULTIPLY } from "./multiply.ts";
import { defineOp, type Lowering, sameShape, type Value } from "./op.ts";

interface ClampAttributes {
  /** No bound when absent. */
  readonly least?: number;
  readonly most: number;
  readonly plus: number;
}

const LOWEST = -3.4e38;

function lowerAs(isSlope: boolean) {
  return ({ recorder, attributes: { least = LOWEST, most, plus }, outputs, rows }: Lowering<ClampAttributes>) =>
    clampTo(recorder, outputs[0] as View, rows.count, { least, most, plus, isSlope });
}

export const CLAMP = defineOp<ClampAttributes>({
  name: "clamp",
  formula: "min(max(x, least), most) + plus",
  shapes: sameShape,
  inPlace: () => [0],
  reference: ({ inputs: [x], attributes: { least = LOWEST, most, plus } }) => [
    (x as Float64Array).map((value) => Math.min(Math.max(value, least), most) + plus),
  ],
  vjp: ({ op: { inputs, attributes }, grads, sink }) => [
    sink.one(MULTIPLY, [sink.one(CLAMP_SLOPE, inputs, attributes), grads[0] as Value], {}),
  ],
  lower: lowerAs(false),
});

/** 1 where x is kept, bounds included as in PyTorch, and 0 where it is cut. */
export const CLAMP_SLOPE = defineOp<ClampAttributes>({
  name: "clampSlope",
  formula: "[least <= x <= most]",
  shapes: sameShape,
  inPlace: () => [0],
  reference: ({ inputs: [x], attributes: { least = LOWEST, most } }) => [
    (x as Float64Array).map((value) => (value >= least && value <= most ? 1 : 0)),
  ],
  lower: lowerAs(true),
});
