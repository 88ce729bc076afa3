/** The norm of queries or keys before RoPE, over each head or over all of them together (qwen3, gemma3, olmo2). */

import { qkNorm } from "../kernels/heads.ts";
import type { NormSpec } from "../kernels/norm.ts";
import type { View } from "../kernels/view.ts";
import { normReference } from "./norm-reference.ts";
import { defineOp, sameShape, type WeightRef } from "./op.ts";

export interface QkNormAttributes {
  readonly spec: NormSpec;
  readonly weights: WeightRef;
  /** `head`: heads share a weight of [dHead]; `perHead`: each has its own; `full`: one norm over all heads. */
  readonly over: "head" | "perHead" | "full";
}

export const QK_NORM = defineOp<QkNormAttributes>({
  name: "qkNorm",
  formula: "norm(q) over dHead, or over all heads",
  shapes: sameShape,
  inPlace: () => [0],
  reference({ attributes: { spec, weights, over }, inputs: [x], inputShapes: [shape], weight }) {
    const { heads, width } = shape as { heads: number; width: number };
    const size = over === "full" ? heads * width : width;
    const [w, b] = [weight(weights, "w"), weight(weights, "b")];
    const out = new Float64Array((x as Float64Array).length);
    for (let at = 0; at < out.length; at += size) {
      // Without `w` the kernel's weights are zeros, and only the offset counts.
      const first = over === "perHead" ? at % (heads * width) : 0;
      const part = (vector: Float64Array | undefined) => vector?.slice(first, first + size);
      const kind = spec.kind as "layer" | "rms";
      out.set(normReference((x as Float64Array).slice(at, at + size), { ...spec, kind, w: part(w), b: part(b) }), at);
    }
    return [out];
  },
  lower({ recorder, attributes: { spec, weights: ref, over }, outputs, rows, weights }) {
    qkNorm(recorder, outputs[0] as View, rows.count, spec, weights.norm(ref), over);
  },
});
