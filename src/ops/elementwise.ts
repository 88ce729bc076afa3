/** Functions of each element by itself, in place: a factor, the MLP's nonlinearity, a soft cap. */
import type { Activation } from "../kernels/calls.ts";
import { elementwise } from "../kernels/elementwise.ts";
import type { View } from "../kernels/view.ts";
import { ACTIVATION_SLOPES, ACTIVATIONS, softCapped } from "./activations.ts";
import { MULTIPLY } from "./multiply.ts";
import { defineOp, type Lowering, type OpKind, sameShape, type Value } from "./op.ts";

interface Elementwise {
  scale?: number;
  activation?: Activation;
  softCap?: number;
  /** Its derivative at x in its place. */
  slope?: boolean;
}

function elementwiseOp<A extends Elementwise>(
  name: string,
  formula: string,
  apply: (x: number, attributes: A) => number,
  vjp?: OpKind<A>["vjp"],
): OpKind<A> {
  return defineOp<A>({
    name,
    formula,
    shapes: sameShape,
    inPlace: () => [0],
    reference: ({ inputs: [x], attributes }) => [(x as Float64Array).map((value) => apply(value, attributes))],
    ...(vjp && { vjp }),
    lower({ recorder, attributes, outputs, rows }: Lowering<A>) {
      elementwise(recorder, outputs[0] as View, rows.count, attributes);
    },
  });
}

/** The residual multiplier (granite), the logits' scale (cohere, granite). */
export const SCALE: OpKind<{ scale: number }> = elementwiseOp(
  "scale",
  "x * scale",
  (x, { scale }) => x * scale,
  ({ op: { attributes }, grads, sink }) => [sink.one(SCALE, grads as [Value], attributes)],
);

/** dx = dy * f'(x), for a function of each element by itself. */
function bySlope<A extends Elementwise>(kind: () => OpKind<A & { slope: true }>): OpKind<A>["vjp"] {
  return ({ op: { inputs, attributes }, grads, sink }) => {
    const slope = sink.one(kind(), inputs, { ...attributes, slope: true });
    return [sink.one(MULTIPLY, [slope, grads[0] as Value], {})];
  };
}

export const ACTIVATION = elementwiseOp<{ activation: Activation }>(
  "activation",
  "act(x)",
  (x, { activation }) => ACTIVATIONS[activation](x),
  bySlope(() => ACTIVATION_SLOPE),
);

export const ACTIVATION_SLOPE = elementwiseOp<{ activation: Activation; slope: true }>(
  "activationSlope",
  "act'(x)",
  (x, { activation }) => ACTIVATION_SLOPES[activation](x),
);

/** Gemma 2's (arXiv 2408.00118). */
export const SOFT_CAP = elementwiseOp<{ softCap: number }>(
  "softCap",
  "cap * tanh(x / cap)",
  (x, { softCap }) => softCapped(x, softCap),
  bySlope(() => SOFT_CAP_SLOPE),
);

export const SOFT_CAP_SLOPE = elementwiseOp<{ softCap: number; slope: true }>(
  "softCapSlope",
  "1 - tanh(x / cap)^2",
  (x, { softCap }) => 1 - Math.tanh(x / softCap) ** 2,
);
