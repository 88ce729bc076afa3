/** The norm of queries or keys before RoPE, over each head or over all of them together (qwen3, gemma3, olmo2). */

import { qkNorm } from "../kernels/heads.ts";
import type { NormSpec } from "../kernels/norm.ts";
import { qkNormGradient } from "../kernels/norm-gradients.ts";
import type { View } from "../kernels/view.ts";
import { normInputGradient } from "./norm-gradients.ts";
import { normReference } from "./norm-reference.ts";
import { defineOp, type OpKind, sameShape, type Value, type WeightRef } from "./op.ts";
import { VECTOR_GRADIENT } from "./weight-gradients.ts";

export interface QkNormAttributes {
  readonly spec: NormSpec;
  readonly weights: WeightRef;
  /** `head`: heads share a weight of [dHead]; `perHead`: each has its own; `full`: one norm over all heads. */
  readonly over: "head" | "perHead" | "full";
  /** Without weight and bias: what they are applied to. */
  readonly normalizeOnly?: boolean;
}

export const QK_NORM: OpKind<QkNormAttributes> = defineOp<QkNormAttributes>({
  name: "qkNorm",
  formula: "norm(q) over dHead, or over all heads",
  shapes: sameShape,
  inPlace: () => [0],
  reference({ attributes, inputs: [x], inputShapes: [shape], weight }) {
    const { weights, over, normalizeOnly } = attributes;
    const spec = normalizeOnly ? { ...attributes.spec, weightOffset: 1 } : attributes.spec;
    const { heads, width } = shape as { heads: number; width: number };
    const size = over === "full" ? heads * width : width;
    const [w, b] = normalizeOnly ? [] : [weight(weights, "w"), weight(weights, "b")];
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
  vjp({ op: { inputs, attributes }, grads, sink, wants, wantsWeight }) {
    const [x] = inputs as [Value];
    const [dy] = grads as [Value];
    const { spec, weights, over } = attributes;
    const width = over === "head" ? (x.width as number) : x.heads * (x.width as number);
    if (wantsWeight(weights, "w")) {
      const normalized = sink.one(QK_NORM, [x], { ...attributes, normalizeOnly: true });
      sink.add(VECTOR_GRADIENT, [dy, normalized], { weight: weights, part: "w", width });
    }
    if (wantsWeight(weights, "b")) sink.add(VECTOR_GRADIENT, [dy], { weight: weights, part: "b", width });
    return [wants(0) ? sink.one(QK_NORM_GRADIENT, [x, dy], { spec, weights, over }) : undefined];
  },
  lower({ recorder, attributes: { spec, weights: ref, over, normalizeOnly }, outputs, rows, weights }) {
    const x = outputs[0] as View;
    // Weights that are absent are read as zeros: with an offset of 1 they change nothing.
    if (normalizeOnly) qkNorm(recorder, x, rows.count, { ...spec, weightOffset: 1 }, {}, over);
    else qkNorm(recorder, x, rows.count, spec, weights.norm(ref), over);
  },
});

/** The gradient of queries or keys before their norm; inputs x and dy. In place of dy. */
export const QK_NORM_GRADIENT = defineOp<QkNormAttributes>({
  name: "qkNormGradient",
  formula: "d norm(q) / dq · dy",
  shapes: sameShape,
  writesViews: true,
  inPlace: () => [1],
  reference({ attributes: { spec, weights, over }, inputs: [x, dy], inputShapes: [shape], weight }) {
    const { heads, width } = shape as { heads: number; width: number };
    const size = over === "full" ? heads * width : width;
    const w = weight(weights, "w");
    const out = new Float64Array((x as Float64Array).length);
    for (let at = 0; at < out.length; at += size) {
      const first = over === "perHead" ? at % (heads * width) : 0;
      const g = (dy as Float64Array)
        .slice(at, at + size)
        .map((value, d) => value * ((w?.[first + d] ?? 0) + spec.weightOffset));
      out.set(normInputGradient((x as Float64Array).slice(at, at + size), g, spec), at);
    }
    return [out];
  },
  lower({ recorder, attributes: { spec, weights: ref, over }, inputs, outputs, rows, weights }) {
    qkNormGradient(recorder, inputs[0] as View, outputs[0] as View, rows.count, spec, weights.norm(ref), over);
  },
});
