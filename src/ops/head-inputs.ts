/**
 * Queries, keys or values whose heads each read an input of their own. Most passes never do this: all heads read one residual. But where
 * people change what one head reads, every head has a copy of the residual, [row, head, dModel], and its rows of the stacked projection.
 */
import { projectHeadInputs } from "../kernels/calls.ts";
import { addHeadInputGradient, unprojectHeadInputs } from "../kernels/gradients.ts";
import type { View } from "../kernels/view.ts";
import { gradientsOf } from "./bindings.ts";
import { sideBySide } from "./concat.ts";
import { defineOp, type OpKind, type ReferenceCall, type Shape, type Value, type WeightRef } from "./op.ts";
import { VECTOR_GRADIENT } from "./weight-gradients.ts";

export interface HeadInputAttributes {
  /** Queries, keys and values, stacked. */
  readonly weight: WeightRef;
  readonly bias?: WeightRef | undefined;
  /** What lies one below the other in the weight's rows, and which of them this is. */
  readonly parts: readonly Shape[];
  readonly part: number;
}

const shapeOf = ({ parts, part }: HeadInputAttributes) => parts[part] as { heads: number; width: number };

/** The part's first row of the weight. */
const firstRowOf = ({ parts, part }: HeadInputAttributes) =>
  parts.slice(0, part).reduce((sum, { heads, width }) => sum + heads * (width as number), 0);

/** Visits each element of W that a row's part is made with: `n` of [head, dHead], `k` of the input, and where it lies in W. */
function eachProduct(
  { attributes, rows }: ReferenceCall<HeadInputAttributes>,
  dModel: number,
  visit: (out: number, input: number, weight: number) => void,
): void {
  const { heads, width } = shapeOf(attributes);
  const first = firstRowOf(attributes);
  for (let row = 0; row < rows.count; row++) {
    for (let n = 0; n < heads * width; n++) {
      const input = (row * heads + Math.floor(n / width)) * dModel;
      for (let k = 0; k < dModel; k++) visit(row * heads * width + n, input + k, (first + n) * dModel + k);
    }
  }
}

const add = (out: Float64Array, at: number, value: number) => {
  out[at] = (out[at] as number) + value;
};

export const HEAD_PROJECTION: OpKind<HeadInputAttributes> = defineOp<HeadInputAttributes>({
  name: "headProjection",
  formula: "W[head] x[head] + b",
  shapes: (_, attributes) => [shapeOf(attributes)],
  reference(call) {
    const { attributes, inputs, inputShapes, rows, weight } = call;
    const { heads, width } = shapeOf(attributes);
    const [x, W, b] = [inputs[0], weight(attributes.weight), weight(attributes.bias)] as Float64Array[];
    const first = firstRowOf(attributes);
    const out = Float64Array.from(
      { length: rows.count * heads * width },
      (_, i) => b?.[first + (i % (heads * width))] ?? 0,
    );
    eachProduct(call, inputShapes[0]?.width as number, (n, k, at) =>
      add(out, n, (W?.[at] as number) * (x?.[k] as number)),
    );
    return [out];
  },
  vjp({ op: { attributes, inputs }, grads, sink, wants, wantsWeight }) {
    const { weight, bias, parts, part } = attributes;
    const [x] = inputs as [Value];
    const [dy] = grads as [Value];
    if (wantsWeight(weight)) sink.add(HEAD_PROJECTION_WEIGHT_GRADIENT, [dy, x], attributes);
    if (bias && wantsWeight(bias)) {
      const ofParts = parts.map((_, index) => (index === part ? dy : undefined));
      sink.add(VECTOR_GRADIENT, [sideBySide(sink, parts, ofParts)], { weight: bias });
    }
    return [
      wants(0) ? sink.one(HEAD_PROJECTION_GRADIENT, [dy], { ...attributes, dModel: x.width as number }) : undefined,
    ];
  },
  lower({ recorder, attributes, inputs, outputs, rows, weights }) {
    const W = weights.matrix(attributes.weight);
    const bias = weights.vector(attributes.bias);
    projectHeadInputs(recorder, inputs[0] as View, rows.count, W, firstRowOf(attributes), bias, outputs[0] as View);
  },
});

/** The gradient of each head's input, given that of what the head makes of it. */
export const HEAD_PROJECTION_GRADIENT = defineOp<HeadInputAttributes & { dModel: number }>({
  name: "headProjectionGradient",
  formula: "dy[head] W[head]",
  shapes: ([dy], { dModel }) => [{ heads: dy?.heads as number, width: dModel }],
  reference(call) {
    const { attributes, inputs, rows, weight } = call;
    const [dy, W] = [inputs[0], weight(attributes.weight)] as Float64Array[];
    const out = new Float64Array(rows.count * shapeOf(attributes).heads * attributes.dModel);
    eachProduct(call, attributes.dModel, (n, k, at) => add(out, k, (W?.[at] as number) * (dy?.[n] as number)));
    return [out];
  },
  lower({ recorder, attributes, inputs, outputs, rows, weights }) {
    const W = weights.matrix(attributes.weight);
    unprojectHeadInputs(recorder, inputs[0] as View, rows.count, W, firstRowOf(attributes), outputs[0] as View);
  },
});

/** dW[head] += dy[head]^T x[head]; inputs dy and x. */
export const HEAD_PROJECTION_WEIGHT_GRADIENT = defineOp<HeadInputAttributes>({
  name: "headProjectionWeightGradient",
  formula: "dW[head] += dy[head]^T x[head]",
  shapes: () => [],
  hasEffect: true,
  reference(call) {
    const { attributes, inputs, inputShapes, weight, addGradient } = call;
    const [dy, x] = inputs;
    const dW = new Float64Array((weight(attributes.weight) as Float64Array).length);
    eachProduct(call, inputShapes[1]?.width as number, (n, k, at) =>
      add(dW, at, (dy?.[n] as number) * (x?.[k] as number)),
    );
    addGradient(attributes.weight, dW);
    return [];
  },
  lower({ recorder, attributes, inputs, rows, bindings }) {
    const [dy, x] = inputs as [View, View];
    const dW = gradientsOf(bindings).matrix(attributes.weight);
    addHeadInputGradient(recorder, dy, x, rows.count, dW, firstRowOf(attributes));
  },
});
