/** The activation functions in float64, from their definitions: what the shaders are checked against. */
import type { Activation } from "../kernels/calls.ts";

/** erf by its Taylor series where that converges fast, elsewhere by the continued fraction of erfc (Abramowitz 7.1.5, 7.1.14). */
export function erf(x: number): number {
  const z = Math.abs(x);
  if (z > 30) return Math.sign(x);
  if (z > 2.5) {
    let fraction = z;
    for (let k = 80; k > 0; k--) fraction = z + k / 2 / fraction;
    return Math.sign(x) * (1 - Math.exp(-z * z) / (fraction * Math.sqrt(Math.PI)));
  }
  let term = x;
  let sum = x;
  for (let n = 1; n < 60; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

const sigmoid = (x: number) => (x < 0 ? Math.exp(x) / (1 + Math.exp(x)) : 1 / (1 + Math.exp(-x)));

const gelu = (x: number) => 0.5 * x * (1 + erf(x / Math.SQRT2));
const geluSlope = (x: number) =>
  0.5 * (1 + erf(x / Math.SQRT2)) + (x * Math.exp(-0.5 * x * x)) / Math.sqrt(2 * Math.PI);
/** tanh of softplus. */
const tanhSoftplus = (x: number) => Math.tanh(x > 30 ? x : Math.log1p(Math.exp(x)));
/** Where the Laplace activation has its middle, and how wide it is (Ma et al. 2022, arXiv 2209.10655). */
// biome-ignore lint/suspicious/noApproximativeNumericConstant: these digits are the definition
const [LAPLACE_MEAN, LAPLACE_SPREAD] = [0.707107, 0.282095];

export const ACTIVATIONS: Record<Activation, (x: number) => number> = {
  identity: (x) => x,
  relu: (x) => Math.max(0, x),
  silu: (x) => x * sigmoid(x),
  gelu,
  gelu_tanh: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  gelu_quick: (x) => x * sigmoid(1.702 * x),
  relu2: (x) => Math.max(0, x) ** 2,
  gelu_10: (x) => Math.min(gelu(x), 10),
  laplace: (x) => 0.5 * (1 + erf((x - LAPLACE_MEAN) / (LAPLACE_SPREAD * Math.SQRT2))),
  leaky_relu: (x) => (x > 0 ? x : 0.01 * x),
  mish: (x) => x * tanhSoftplus(x),
  relu6: (x) => Math.min(Math.max(0, x), 6),
  sigmoid,
  tanh: Math.tanh,
};

/** Their derivatives. Those of relu, relu6 and leaky_relu at their kinks are as in PyTorch. */
export const ACTIVATION_SLOPES: Record<Activation, (x: number) => number> = {
  identity: () => 1,
  relu: (x) => (x > 0 ? 1 : 0),
  silu: (x) => sigmoid(x) * (1 + x * sigmoid(-x)),
  gelu: geluSlope,
  gelu_tanh(x) {
    const tanh = Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3));
    return 0.5 * (1 + tanh) + 0.5 * x * (1 - tanh * tanh) * Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * x * x);
  },
  gelu_quick: (x) => sigmoid(1.702 * x) * (1 + 1.702 * x * sigmoid(-1.702 * x)),
  relu2: (x) => 2 * Math.max(0, x),
  gelu_10: (x) => (gelu(x) < 10 ? geluSlope(x) : 0),
  laplace: (x) =>
    Math.exp(-0.5 * ((x - LAPLACE_MEAN) / LAPLACE_SPREAD) ** 2) / (LAPLACE_SPREAD * Math.sqrt(2 * Math.PI)),
  leaky_relu: (x) => (x > 0 ? 1 : 0.01),
  mish: (x) => tanhSoftplus(x) + x * (1 - tanhSoftplus(x) ** 2) * sigmoid(x),
  relu6: (x) => (x > 0 && x < 6 ? 1 : 0),
  sigmoid: (x) => sigmoid(x) * sigmoid(-x),
  tanh: (x) => 1 - Math.tanh(x) ** 2,
};

export const ACTIVATION_NAMES = Object.keys(ACTIVATIONS) as Activation[];

/** cap * tanh(x / cap); x itself without a cap. */
export function softCapped(x: number, cap: number | null | undefined): number {
  return cap ? cap * Math.tanh(x / cap) : x;
}
