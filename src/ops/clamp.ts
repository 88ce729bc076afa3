/**
 * Numbers kept within bounds: queries, keys and values (olmo, mpt), and the clamped SwiGLU of gpt_oss, which adds a number after that.
 * The gradient is zero where they were beyond.
 */
import { clamp, clampGradient } from "../kernels/head-elements.ts";
import type { View } from "../kernels/view.ts";
import { defineOp, sameShape, type Value } from "./op.ts";

interface ClampAttributes {
  /** No bound when absent. */
  readonly least?: number;
  readonly most: number;
  /** 0 when absent. */
  readonly plus?: number;
}

const LOWEST = -3.4e38;

const boundsOf = ({ least = LOWEST, most, plus = 0 }: ClampAttributes) => ({ least, most, plus });

export const CLAMP = defineOp<ClampAttributes>({
  name: "clamp",
  formula: "min(max(x, least), most) + plus",
  shapes: sameShape,
  inPlace: () => [0],
  writesViews: true,
  reference: ({ attributes, inputs: [x] }) => {
    const { least, most, plus } = boundsOf(attributes);
    return [(x as Float64Array).map((value) => Math.min(Math.max(value, least), most) + plus)];
  },
  vjp: ({ op: { inputs, attributes }, grads, sink }) => [
    sink.one(CLAMP_GRADIENT, [...inputs, ...grads] as Value[], attributes),
  ],
  lower({ recorder, attributes, outputs, rows }) {
    clamp(recorder, outputs[0] as View, rows.count, boundsOf(attributes));
  },
});

/** Inputs x and dy, in place of which it computes. */
export const CLAMP_GRADIENT = defineOp<ClampAttributes>({
  name: "clampGradient",
  formula: "dy where least <= x <= most, else 0",
  shapes: sameShape,
  inPlace: () => [1],
  writesViews: true,
  reference: ({ attributes, inputs: [x, dy] }) => {
    const { least, most } = boundsOf(attributes);
    const isInside = (value: number) => value >= least && value <= most;
    return [(dy as Float64Array).map((value, i) => (isInside(x?.[i] as number) ? value : 0))];
  },
  lower({ recorder, attributes, inputs, outputs, rows }) {
    clampGradient(recorder, inputs[0] as View, outputs[0] as View, rows.count, boundsOf(attributes));
  },
});
