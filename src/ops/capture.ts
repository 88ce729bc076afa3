/** A copy of an activation's rows into a tensor that outlives the pass. */
import type { Tensor } from "../gpu/tensor.ts";
import { gather } from "../kernels/calls.ts";
import type { View } from "../kernels/view.ts";
import { defineOp } from "./op.ts";
import { layoutOf, rowPairs } from "./places.ts";

/** Where the captured rows of a point go. */
export interface CaptureTarget {
  readonly name: string;
  /** [batch, pos, …], or [batch, head, query, key] for scores and pattern. */
  readonly tensor: Tensor;
}

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
    gather(recorder, inputs[0] as View, { ...layout, buffer: tensor }, lists.pairs, layout.heads, layout.width);
  },
});
