/** A copy of an activation's rows into a tensor that outlives the pass. */
import { gather } from "../kernels/calls.ts";
import type { View } from "../kernels/view.ts";
import type { CaptureTarget } from "./bindings.ts";
import { defineOp } from "./op.ts";
import { layoutOf, rowPairs } from "./places.ts";

export const CAPTURE = defineOp<{ index: number; headFirst: boolean }>({
  name: "capture",
  formula: "read x",
  shapes: () => [],
  hasEffect: true,
  lower({ recorder, attributes: { index, headFirst }, inputs, rows, bindings }) {
    const hooks = bindings.hooks as NonNullable<typeof bindings.hooks>;
    const { tensor } = hooks.captures[index] as CaptureTarget;
    const layout = layoutOf(tensor.shape, headFirst);
    const lists = rowPairs(recorder, hooks, "positions", rows, layout);
    if (!lists) return;
    gather(recorder, inputs[0] as View, { ...layout, buffer: tensor }, lists.pairs);
  },
});
