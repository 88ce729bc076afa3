/** Functions of each element by itself, in place: a factor, the MLP's nonlinearity, a soft cap. */
import type { Activation } from "../kernels/calls.ts";
import { elementwise } from "../kernels/elementwise.ts";
import type { View } from "../kernels/view.ts";
import { ACTIVATIONS, softCapped } from "./activations.ts";
import { defineOp, type Lowering, type OpKind, sameShape } from "./op.ts";

interface Elementwise {
  scale?: number;
  activation?: Activation;
  softCap?: number;
}

function elementwiseOp<A extends Elementwise>(
  name: string,
  formula: string,
  apply: (x: number, attributes: A) => number,
): OpKind<A> {
  return defineOp<A>({
    name,
    formula,
    shapes: sameShape,
    inPlace: () => [0],
    reference: ({ inputs: [x], attributes }) => [(x as Float64Array).map((value) => apply(value, attributes))],
    lower({ recorder, attributes, outputs, rows }: Lowering<A>) {
      elementwise(recorder, outputs[0] as View, rows.count, attributes);
    },
  });
}

/** The residual multiplier (granite), the logits' scale (cohere, granite). */
export const SCALE = elementwiseOp<{ scale: number }>("scale", "x * scale", (x, { scale }) => x * scale);

export const ACTIVATION = elementwiseOp<{ activation: Activation }>("activation", "act(x)", (x, { activation }) =>
  ACTIVATIONS[activation](x),
);

/** Gemma 2's (arXiv 2408.00118). */
export const SOFT_CAP = elementwiseOp<{ softCap: number }>("softCap", "cap * tanh(x / cap)", (x, { softCap }) =>
  softCapped(x, softCap),
);
