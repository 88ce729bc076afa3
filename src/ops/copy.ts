/** A copy, for an op that computes in place what is still needed as it was. Put in when a graph is given its memory. */
import { copy } from "../kernels/elementwise.ts";
import type { View } from "../kernels/view.ts";
import { defineOp, sameShape } from "./op.ts";

export const COPY = defineOp<object>({
  name: "copy",
  formula: "x",
  shapes: sameShape,
  reference: ({ inputs }) => inputs,
  vjp: ({ grads }) => grads,
  lower({ recorder, inputs, outputs, rows }) {
    copy(recorder, inputs[0] as View, outputs[0] as View, rows.count);
  },
});
