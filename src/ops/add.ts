/** x + scale * term, in place of x: what attention and the MLP do to the residual stream. */
import { combine } from "../kernels/calls.ts";
import type { View } from "../kernels/view.ts";
import { SCALE } from "./elementwise.ts";
import { defineOp, sameShape, type Value } from "./op.ts";

export const ADD = defineOp<{ scale: number }>({
  name: "add",
  formula: "x + scale * term",
  shapes: sameShape,
  inPlace: () => [0],
  reference: ({ inputs: [x, term], attributes: { scale } }) => [
    (x as Float64Array).map((value, i) => value + scale * ((term as Float64Array)[i] as number)),
  ],
  vjp({ op: { attributes }, grads, sink }) {
    const [dy] = grads as [Value];
    return [dy, attributes.scale === 1 ? dy : sink.one(SCALE, [dy], attributes)];
  },
  lower({ recorder, attributes: { scale }, inputs, outputs, rows }) {
    const { buffer, heads, width } = outputs[0] as View;
    combine(recorder, (inputs[1] as View).buffer, buffer, rows.count * heads * width, "add", scale);
  },
});
