/**
 * What a dictionary of features (a sparse autoencoder, a transcoder) is made of besides matmuls and vectors: which features
 * are active, and the sum of their directions. A feature's activation is its pre-activation where it is active, never below
 * 0, and 0 elsewhere; so the gradient passes where the activation is above 0.
 */
import { decodeActive, keep, keepLargest } from "../kernels/dictionary.ts";
import { copy } from "../kernels/elementwise.ts";
import { matmulTransposed } from "../kernels/gradients.ts";
import { isPacked, packedView, type View } from "../kernels/view.ts";
import { MATMUL } from "./matmul.ts";
import { defineOp, type OpKind, type Shape, sameShape, type Value, type VjpCall, type WeightRef } from "./op.ts";
import { WEIGHT_GRADIENT } from "./weight-gradients.ts";

/** dx = dy where the activation is above 0. */
function whereActive<A>({ op, grads, sink }: VjpCall<A>): readonly Value[] {
  return [sink.one(ACTIVE_GRADIENT, [grads[0], op.outputs[0]] as Value[], {})];
}

/** JumpReLU (Rajamanoharan et al. 2024, arXiv 2407.14435). */
export const JUMP_RELU = defineOp<{ threshold: WeightRef }>({
  name: "jumpRelu",
  formula: "relu(x) where x > threshold",
  shapes: sameShape,
  inPlace: () => [0],
  reference({ attributes, inputs: [x], weight }) {
    const threshold = weight(attributes.threshold) as Float64Array;
    return [
      (x as Float64Array).map((value, i) =>
        value > (threshold[i % threshold.length] as number) ? Math.max(0, value) : 0,
      ),
    ];
  },
  vjp: whereActive,
  lower({ recorder, attributes, outputs, rows, weights }) {
    const threshold = weights.vector(attributes.threshold);
    keep(recorder, "jumprelu", outputs[0] as View, threshold as NonNullable<typeof threshold>, rows.count);
  },
});

/** Gated (Rajamanoharan et al. 2024, arXiv 2404.16014): inputs are magnitudes and gates, both before any activation. */
export const GATED_RELU = defineOp<object>({
  name: "gatedRelu",
  formula: "relu(x) where gate > 0",
  shapes: sameShape,
  inPlace: () => [0],
  reference: ({ inputs: [x, gate] }) => [
    (x as Float64Array).map((value, i) => (((gate as Float64Array)[i] as number) > 0 ? Math.max(0, value) : 0)),
  ],
  vjp: whereActive,
  lower({ recorder, inputs, outputs, rows }) {
    keep(recorder, "gated", outputs[0] as View, (inputs[1] as View).buffer, rows.count);
  },
});

/** TopK (Gao et al. 2024, arXiv 2406.04093). */
export const TOP_K = defineOp<{ k: number }>({
  name: "topK",
  formula: "relu(x) where x is one of the k largest",
  shapes: sameShape,
  inPlace: () => [0],
  reference({ attributes: { k }, inputs: [x], inputShapes: [shape], rows }) {
    const { width } = shape as { width: number };
    const out = new Float64Array(rows.count * width);
    for (let row = 0; row < rows.count; row++) {
      const values = (x as Float64Array).subarray(row * width, (row + 1) * width);
      const order = Array.from(values.keys()).sort((a, b) => (values[b] as number) - (values[a] as number) || a - b);
      for (const index of order.slice(0, k)) out[row * width + index] = Math.max(0, values[index] as number);
    }
    return [out];
  },
  vjp: whereActive,
  lower({ recorder, attributes: { k }, outputs, rows }) {
    keepLargest(recorder, outputs[0] as View, rows.count, k);
  },
});

export const ACTIVE_GRADIENT = defineOp<object>({
  name: "activeGradient",
  formula: "dy where activation > 0",
  shapes: sameShape,
  inPlace: () => [0],
  reference: ({ inputs: [dy, y] }) => [
    (dy as Float64Array).map((value, i) => (((y as Float64Array)[i] as number) > 0 ? value : 0)),
  ],
  lower({ recorder, inputs, outputs, rows }) {
    keep(recorder, "gradient", outputs[0] as View, (inputs[1] as View).buffer, rows.count);
  },
});

/** The sum of the features' directions, each times its activation. */
export const DECODE: OpKind<{ weight: WeightRef; width: number }> = defineOp<{ weight: WeightRef; width: number }>({
  name: "decode",
  formula: "sum over features of x * W_dec[feature]",
  shapes: (_, { width }) => [{ heads: 1, width }],
  reference({ attributes: { weight: ref, width }, inputs: [x], inputShapes: [shape], rows, weight }) {
    const W = weight(ref) as Float64Array;
    const features = (shape as { width: number }).width;
    const out = new Float64Array(rows.count * width);
    for (let row = 0; row < rows.count; row++) {
      for (let feature = 0; feature < features; feature++) {
        const factor = x?.[row * features + feature] as number;
        if (factor === 0) continue;
        for (let d = 0; d < width; d++) {
          out[row * width + d] = (out[row * width + d] as number) + factor * (W[feature * width + d] as number);
        }
      }
    }
    return [out];
  },
  vjp({ op: { attributes, inputs }, grads, sink, wants, wantsWeight }) {
    const { weight } = attributes;
    const [x] = inputs as [Value];
    const [dy] = grads as [Value];
    if (wantsWeight(weight)) sink.add(WEIGHT_GRADIENT, [x, dy], { weight });
    const parts = [{ heads: 1, width: x.width }];
    return [wants(0) ? sink.one(MATMUL, [dy], { weight, parts }) : undefined];
  },
  lower({ recorder, attributes, inputs, outputs, rows, weights }) {
    const [x, out] = [inputs[0] as View, outputs[0] as View];
    const W = weights.matrix(attributes.weight);
    if (recorder.kernels === "reference") matmulTransposed(recorder, x, rows.count, W, out, {});
    else decodeActive(recorder, x, rows.count, W, out);
  },
});

/** The same numbers as other heads: attention's heads as one vector, and back. */
export const RESHAPE: OpKind<Shape> = defineOp<Shape>({
  name: "reshape",
  formula: "x",
  shapes: (_, shape) => [{ heads: shape.heads, width: shape.width }],
  reference: ({ inputs }) => inputs,
  vjp: ({ op: { inputs }, grads, sink }) => {
    const { heads, width } = inputs[0] as Value;
    return [sink.one(RESHAPE, grads as [Value], { heads, width })];
  },
  lower({ recorder, inputs, outputs, rows }) {
    const [x, out] = [inputs[0] as View, outputs[0] as View];
    const { heads, width } = x.heads > out.heads ? x : out;
    const cut = (view: View): View =>
      view.heads === heads ? view : { ...view, heads, width, headStride: isPacked(view) ? width : view.headStride };
    const whole = (view: View) => packedView(view.buffer, heads * width, 1, view.start);
    if (isPacked(x) && isPacked(out)) copy(recorder, whole(x), whole(out), rows.count);
    else copy(recorder, cut(x), cut(out), rows.count);
  },
});
