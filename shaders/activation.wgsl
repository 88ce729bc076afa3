// The MLP's activation functions, chosen when the pipeline is built. Joined to the kernels that apply one.
// Codes: 0 identity, 1 relu, 2 silu, 3 gelu (erf), 4 gelu (tanh approximation), 5 gelu (sigmoid approximation), 6 relu squared,
// 7 gelu up to 10, 8 Laplace, 9 leaky relu, 10 mish, 11 relu up to 6, 12 sigmoid, 13 tanh. Formulas in src/ops/activations.ts.

override ACTIVATION: u32 = 0u;

// Complementary error function, relative error below 1.2e-7 everywhere (Numerical Recipes, 2nd ed., section 6.2, erfcc).
fn erfc(x: f32) -> f32 {
  let z = abs(x);
  let t = 1.0 / (1.0 + 0.5 * z);
  var sum = 0.17087277;
  sum = fma(sum, t, -0.82215223);
  sum = fma(sum, t, 1.48851587);
  sum = fma(sum, t, -1.13520398);
  sum = fma(sum, t, 0.27886807);
  sum = fma(sum, t, -0.18628806);
  sum = fma(sum, t, 0.09678418);
  sum = fma(sum, t, 0.37409196);
  sum = fma(sum, t, 1.00002368);
  let result = t * exp(fma(sum, t, -1.26551223) - z * z);
  return select(result, 2.0 - result, x < 0.0);
}

// tanh overflows to inf / inf on some drivers; beyond 10 it is 1 in f32 anyway.
fn safeTanh(x: f32) -> f32 {
  return tanh(clamp(x, -10.0, 10.0));
}

// exp of a negative number only: it can become zero, never infinity.
fn sigmoid(x: f32) -> f32 {
  let e = exp(-abs(x));
  return select(e, 1.0, x >= 0.0) / (1.0 + e);
}

fn gelu(x: f32) -> f32 {
  return 0.5 * x * erfc(-x * 0.70710678);
}

// tanh(log(1 + exp(x))), of exp of a negative number only.
fn tanhSoftplus(x: f32) -> f32 {
  let e = exp(-abs(x));
  let part = select(e * (e + 2.0), 1.0 + 2.0 * e, x >= 0.0);
  return part / (part + select(2.0, 2.0 * e * e, x >= 0.0));
}

fn activate(x: f32) -> f32 {
  switch ACTIVATION {
    case 1u: { return max(x, 0.0); }
    case 2u: { return x * sigmoid(x); }
    case 3u: { return gelu(x); }
    case 4u: { return 0.5 * x * (1.0 + safeTanh(0.79788456 * fma(0.044715 * x * x, x, x))); }
    case 5u: { return x * sigmoid(1.702 * x); }
    case 6u: { return max(x, 0.0) * max(x, 0.0); }
    case 7u: { return min(gelu(x), 10.0); }
    case 8u: { return 0.5 * erfc(2.5066264 * (0.707107 - x)); }
    case 9u: { return select(0.01 * x, x, x > 0.0); }
    case 10u: { return x * tanhSoftplus(x); }
    case 11u: { return clamp(x, 0.0, 6.0); }
    case 12u: { return sigmoid(x); }
    case 13u: { return safeTanh(x); }
    default: { return x; }
  }
}
