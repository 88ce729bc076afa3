/** Where a backward pass begins: the metric's gradient of the logits, or a gradient of a point that the caller gives. */
import type { View } from "../kernels/view.ts";
import { defineOp, sameShape } from "./op.ts";

export const SEED = defineOp<object>({
  name: "seed",
  formula: "d metric / dx",
  shapes: sameShape,
  hasEffect: true,
  reference: ({ inputs: [x], rows, pass }) => [(pass.seed as NonNullable<typeof pass.seed>)(x as Float64Array, rows)],
  lower({ recorder, inputs, outputs, rows, bindings }) {
    const seed = bindings.seed as NonNullable<typeof bindings.seed>;
    seed(recorder, inputs[0] as View, rows, outputs[0] as View);
  },
});
