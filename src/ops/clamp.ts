/** Queries, keys or values kept within ±limit (olmo, mpt), and the gradient of that, which is zero where they were beyond. */
import { clamp, clampGradient } from "../kernels/head-elements.ts";
import type { View } from "../kernels/view.ts";
import { defineOp, sameShape, type Value } from "./op.ts";

interface ClampAttributes {
  readonly limit: number;
}

export const CLAMP = defineOp<ClampAttributes>({
  name: "clamp",
  formula: "min(max(x, -limit), limit)",
  shapes: sameShape,
  inPlace: () => [0],
  writesViews: true,
  reference: ({ attributes: { limit }, inputs: [x] }) => [
    (x as Float64Array).map((value) => Math.min(Math.max(value, -limit), limit)),
  ],
  vjp: ({ op: { inputs, attributes }, grads, sink }) => [
    sink.one(CLAMP_GRADIENT, [...inputs, ...grads] as Value[], attributes),
  ],
  lower({ recorder, attributes: { limit }, outputs, rows }) {
    clamp(recorder, outputs[0] as View, rows.count, limit);
  },
});

/** Inputs x and dy, in place of which it computes. */
export const CLAMP_GRADIENT = defineOp<ClampAttributes>({
  name: "clampGradient",
  formula: "dy where |x| <= limit, else 0",
  shapes: sameShape,
  inPlace: () => [1],
  writesViews: true,
  reference: ({ attributes: { limit }, inputs: [x, dy] }) => [
    (dy as Float64Array).map((value, i) => (Math.abs(x?.[i] as number) <= limit ? value : 0)),
  ],
  lower({ recorder, attributes: { limit }, inputs, outputs, rows }) {
    clampGradient(recorder, inputs[0] as View, outputs[0] as View, rows.count, limit);
  },
});
