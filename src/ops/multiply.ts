/** x * y element by element, in place of x: the gate of a gated MLP. */
import { combine } from "../kernels/calls.ts";
import type { View } from "../kernels/view.ts";
import { defineOp, type OpKind, sameShape, type Value } from "./op.ts";

export const MULTIPLY: OpKind<object> = defineOp<object>({
  name: "multiply",
  formula: "x * y",
  shapes: sameShape,
  inPlace: () => [0],
  reference: ({ inputs: [x, y] }) => [
    (x as Float64Array).map((value, i) => value * ((y as Float64Array)[i] as number)),
  ],
  vjp({ op: { inputs }, grads, sink, wants }) {
    const [x, y] = inputs as [Value, Value];
    const [dy] = grads as [Value];
    return [
      wants(0) ? sink.one(MULTIPLY, [y, dy], {}) : undefined,
      wants(1) ? sink.one(MULTIPLY, [x, dy], {}) : undefined,
    ];
  },
  lower({ recorder, inputs, outputs, rows }) {
    const { buffer, heads, width } = outputs[0] as View;
    combine(recorder, (inputs[1] as View).buffer, buffer, rows.count * heads * width, "multiply");
  },
});
