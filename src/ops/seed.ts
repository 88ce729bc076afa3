/** The metric's gradient of the logits: where a backward pass begins. */
import type { View } from "../kernels/view.ts";
import { defineOp, sameShape } from "./op.ts";

export const SEED = defineOp<object>({
  name: "seed",
  formula: "d metric / d logits",
  shapes: sameShape,
  reference: ({ inputs: [logits], rows, pass }) => [
    (pass.seed as NonNullable<typeof pass.seed>)(logits as Float64Array, rows),
  ],
  lower({ recorder, inputs, outputs, rows, bindings }) {
    const seed = bindings.seed as NonNullable<typeof bindings.seed>;
    seed(recorder, inputs[0] as View, rows, outputs[0] as View);
  },
});
