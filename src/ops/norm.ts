/**
 * LayerNorm and RMSNorm of a vector, the residual or each head's copy of it, in the three steps that people look between, and whole: the divisor, the normed vector,
 * and weight and bias. LayerNorm: Ba et al. 2016, arXiv 1607.06450; RMSNorm: Zhang and Sennrich 2019, arXiv 1910.07467.
 */
import { type NormSpec, norm, normStages } from "../kernels/norm.ts";
import type { View } from "../kernels/view.ts";
import { DIVISOR_GRADIENT, NORM_GRADIENT, NORM_SCALE_GRADIENT } from "./norm-gradients.ts";
import { affine, normalized } from "./norm-reference.ts";
import { defineOp, type Lowering, type OpKind, sameShape, type Value, type WeightRef } from "./op.ts";
import { VECTOR_GRADIENT } from "./weight-gradients.ts";

export interface NormAttributes {
  readonly spec: NormSpec;
  /** Weight `w` and bias `b`; absent ones are the identity. */
  readonly weights: WeightRef;
}

const widthOf = ({ width }: Value) => width as number;

const stages = ({ recorder, attributes, rows, weights, inputs }: Lowering<NormAttributes>) => {
  const { heads, width } = inputs[0] as View;
  return normStages(recorder, rows.count * heads, width, attributes.spec, weights.norm(attributes.weights));
};

/** Applies `f` to each vector of `width`. */
function byRow(x: Float64Array, width: number, f: (row: Float64Array, index: number) => ArrayLike<number>) {
  const out: number[] = [];
  for (let row = 0; row < x.length / width; row++) {
    for (const value of Array.from(f(x.subarray(row * width, (row + 1) * width), row))) out.push(value);
  }
  return Float64Array.from(out);
}

export const NORM_SCALE = defineOp<NormAttributes>({
  name: "normScale",
  formula: "sqrt(var(x) + eps); RMS norms: sqrt(mean(x^2) + eps)",
  shapes: ([x]) => [{ heads: x?.heads as number, width: 1 }],
  reference: ({ inputs: [x], inputShapes: [shape], attributes: { spec } }) => [
    byRow(x as Float64Array, shape?.width as number, (row) => [normalized(row, spec).scale]),
  ],
  vjp: ({ op: { inputs, outputs, attributes }, grads, sink }) => [
    sink.one(NORM_SCALE_GRADIENT, [...inputs, ...outputs, ...grads] as Value[], attributes),
  ],
  lower(call) {
    stages(call).scale((call.inputs[0] as View).buffer, (call.outputs[0] as View).buffer);
  },
});

export const NORMALIZE: OpKind<NormAttributes> = defineOp<NormAttributes>({
  name: "normalize",
  formula: "(x - mean(x)) / scale; RMS norms: x / scale",
  shapes: sameShape,
  reference: ({ inputs: [x, scales], inputShapes: [shape], attributes: { spec } }) => [
    byRow(x as Float64Array, shape?.width as number, (row, index) => {
      const mean = spec.kind === "layer" ? row.reduce((sum, value) => sum + value, 0) / row.length : 0;
      return row.map((value) => (value - mean) / ((scales as Float64Array)[index] as number));
    }),
  ],
  vjp: ({ op: { inputs, outputs, attributes }, grads, sink, wants }) => [
    // With s held fixed it is linear, and its own transpose.
    wants(0) ? sink.one(NORMALIZE, [...grads, inputs[1]] as Value[], attributes) : undefined,
    wants(1) ? sink.one(DIVISOR_GRADIENT, [inputs[1], ...outputs, ...grads] as Value[], {}) : undefined,
  ],
  lower(call) {
    const [x, scales] = call.inputs as [View, View];
    stages(call).normalize(x.buffer, scales.buffer, (call.outputs[0] as View).buffer);
  },
});

export const AFFINE: OpKind<NormAttributes & { withoutBias?: boolean }> = defineOp<
  NormAttributes & { withoutBias?: boolean }
>({
  name: "affine",
  formula: "x * (w + offset) + b",
  shapes: sameShape,
  reference: ({ inputs: [x], inputShapes: [shape], attributes: { spec, weights, withoutBias }, weight }) => [
    byRow(x as Float64Array, shape?.width as number, (row) =>
      affine(row, spec, weight(weights, "w"), withoutBias ? undefined : weight(weights, "b")),
    ),
  ],
  vjp({ op: { inputs, attributes }, grads, sink, wants, wantsWeight }) {
    const [dy] = grads as [Value];
    const { weights: weight } = attributes;
    const width = widthOf(dy);
    if (wantsWeight(weight, "w")) sink.add(VECTOR_GRADIENT, [dy, inputs[0] as Value], { weight, part: "w", width });
    if (wantsWeight(weight, "b")) sink.add(VECTOR_GRADIENT, [dy], { weight, part: "b", width });
    return [wants(0) ? sink.one(AFFINE, [dy], { ...attributes, withoutBias: true }) : undefined];
  },
  lower(call) {
    const { withoutBias, weights: ref } = call.attributes;
    const weights = withoutBias ? { ...call.weights, norm: () => ({ w: call.weights.norm(ref).w }) } : call.weights;
    stages({ ...call, weights }).affine((call.inputs[0] as View).buffer, (call.outputs[0] as View).buffer);
  },
});

/** The three in one step; with a second input, added to that. Made by fusion. */
export const NORM = defineOp<NormAttributes & { accumulate: boolean }>({
  name: "norm",
  formula: "norm(x) * (w + offset) + b (+ residual)",
  shapes: sameShape,
  inPlace: ({ accumulate }) => [accumulate ? 1 : undefined],
  reference: ({ inputs: [x, residual], inputShapes: [shape], attributes: { spec, weights, accumulate }, weight }) => {
    const out = byRow(x as Float64Array, shape?.width as number, (row) =>
      affine(normalized(row, spec).values, spec, weight(weights, "w"), weight(weights, "b")),
    );
    return [accumulate ? out.map((value, i) => value + ((residual as Float64Array)[i] as number)) : out];
  },
  vjp({ op: { inputs, attributes }, grads, sink, wants, wantsWeight }) {
    const [x] = inputs as [Value];
    const [dy] = grads as [Value];
    const { spec, weights, accumulate } = attributes;
    const width = widthOf(dy);
    if (wantsWeight(weights, "b")) sink.add(VECTOR_GRADIENT, [dy], { weight: weights, part: "b", width });
    const forWeight = wantsWeight(weights, "w");
    const residual = accumulate ? dy : undefined;
    if (!wants(0) && !forWeight) return [undefined, residual];
    const [dx, product] = sink.add(NORM_GRADIENT, [x, dy], { spec, weights, forWeight });
    if (forWeight) sink.add(VECTOR_GRADIENT, [product as Value], { weight: weights, part: "w", width });
    return [dx, residual];
  },
  lower({ recorder, attributes, inputs, outputs, rows, weights }) {
    const { buffer, heads, width } = inputs[0] as View;
    const { spec, accumulate } = attributes;
    norm(
      recorder,
      buffer,
      rows.count * heads,
      width,
      spec,
      weights.norm(attributes.weights),
      (outputs[0] as View).buffer,
      accumulate,
    );
  },
});
