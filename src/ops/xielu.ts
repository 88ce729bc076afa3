/**
 * xIELU: an activation whose two sides have a weight each (Huang and Schlag 2024, arXiv 2411.13010; apertus). With p =
 * softplus(alpha_p) and n = beta + softplus(alpha_n),
 *
 *   x > 0: p x^2 + beta x        x <= 0: (exp(min(x, eps)) - 1 - x) n + beta x
 */
import type { Tensor } from "../gpu/tensor.ts";
import type { View } from "../kernels/view.ts";
import { type XieluWeights, xielu, xieluAlphaGradient, xieluGradient } from "../kernels/xielu.ts";
import { defineOp, type Lowering, type ReferenceCall, sameShape, type Value, type WeightRef } from "./op.ts";
import { VECTOR_GRADIENT } from "./weight-gradients.ts";

export interface XieluAttributes {
  /** [2]: alpha_p, alpha_n. */
  readonly alphas: WeightRef;
  /** [2]: beta, eps. */
  readonly constants: WeightRef;
}

const softplus = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

/** The function, its derivative, and what multiplies the weights of its sides, for numbers alphas and constants. */
export function xieluOf([alphaP = 0, alphaN = 0]: Iterable<number>, [beta = 0, eps = 0]: Iterable<number>) {
  const [right, left] = [softplus(alphaP), beta + softplus(alphaN)];
  const leftPart = (x: number) => Math.expm1(Math.min(x, eps)) - x;
  return {
    value: (x: number) => (x > 0 ? right * x * x : leftPart(x) * left) + beta * x,
    slope: (x: number) => (x > 0 ? 2 * right * x : (x <= eps ? Math.expm1(x) : -1) * left) + beta,
    /** d value / d alpha_p and d alpha_n. */
    byAlphas: (x: number) =>
      (x > 0 ? [sigmoid(alphaP) * x * x, 0] : [0, sigmoid(alphaN) * leftPart(x)]) as [number, number],
  };
}

function functionOf({ attributes: { alphas, constants }, weight }: ReferenceCall<XieluAttributes>) {
  return xieluOf(weight(alphas) as Float64Array, weight(constants) as Float64Array);
}

function weightsOf({ attributes: { alphas, constants }, weights }: Lowering<XieluAttributes>): XieluWeights {
  return { alphas: weights.vector(alphas) as Tensor, constants: weights.vector(constants) as Tensor };
}

export const XIELU = defineOp<XieluAttributes>({
  name: "xielu",
  formula: "x > 0: p x^2 + beta x; else (exp(min(x, eps)) - 1 - x) n + beta x",
  shapes: sameShape,
  inPlace: () => [0],
  reference: (call) => [(call.inputs[0] as Float64Array).map(functionOf(call).value)],
  vjp({ op: { inputs, attributes }, grads, sink, wants, wantsWeight }) {
    const both = [...inputs, ...grads] as Value[];
    if (wantsWeight(attributes.alphas))
      sink.add(VECTOR_GRADIENT, [sink.one(XIELU_ALPHA_GRADIENT, both, attributes)], { weight: attributes.alphas });
    return [wants(0) ? sink.one(XIELU_GRADIENT, both, attributes) : undefined];
  },
  lower(call) {
    xielu(call.recorder, call.outputs[0] as View, call.rows.count, weightsOf(call));
  },
});

/** Inputs x and dy, in place of which it computes. */
export const XIELU_GRADIENT = defineOp<XieluAttributes>({
  name: "xieluGradient",
  formula: "dy * xielu'(x)",
  shapes: sameShape,
  inPlace: () => [1],
  reference(call) {
    const [x, dy] = call.inputs as [Float64Array, Float64Array];
    const { slope } = functionOf(call);
    return [dy.map((value, i) => value * slope(x[i] as number))];
  },
  lower(call) {
    xieluGradient(call.recorder, call.inputs[0] as View, call.outputs[0] as View, call.rows.count, weightsOf(call));
  },
});

/** What each row gives to the gradients of alpha_p and alpha_n, of x and dy. VECTOR_GRADIENT adds them up. */
export const XIELU_ALPHA_GRADIENT = defineOp<XieluAttributes>({
  name: "xieluAlphaGradient",
  formula: "dy · d xielu / d alpha",
  shapes: () => [{ heads: 1, width: 2 }],
  reference(call) {
    const [x, dy] = call.inputs as [Float64Array, Float64Array];
    const { byAlphas } = functionOf(call);
    const width = x.length / call.rows.count;
    const out = new Float64Array(2 * call.rows.count);
    x.forEach((value, i) => {
      const at = 2 * Math.floor(i / width);
      const [right, left] = byAlphas(value);
      out[at] = (out[at] as number) + (dy[i] as number) * right;
      out[at + 1] = (out[at + 1] as number) + (dy[i] as number) * left;
    });
    return [out];
  },
  lower(call) {
    const [x, dy] = call.inputs as [View, View];
    xieluAlphaGradient(call.recorder, x, dy, call.rows.count, weightsOf(call), call.outputs[0] as View);
  },
});
