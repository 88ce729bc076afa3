// The derivatives of the activation functions of activation.wgsl, to which it is joined.

// x * sigmoid(k x) has the derivative sigmoid(k x) * (1 + k x * sigmoid(-k x)).
fn sigmoidSlope(x: f32, k: f32) -> f32 {
  return sigmoid(k * x) * (1.0 + k * x * sigmoid(-k * x));
}

fn geluTanhSlope(x: f32) -> f32 {
  let tanh = safeTanh(0.79788456 * fma(0.044715 * x * x, x, x));
  return 0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * 0.79788456 * (1.0 + 0.134145 * x * x);
}

// exp underflows to zero far out, where x * exp(-x^2 / 2) is zero as well.
fn geluSlope(x: f32) -> f32 {
  return 0.5 * erfc(-x * 0.70710678) + 0.39894228 * x * exp(-0.5 * x * x);
}

fn laplaceSlope(x: f32) -> f32 {
  let z = 2.5066264 * (x - 0.707107);
  return 1.4142125 * exp(-z * z);
}

fn mishSlope(x: f32) -> f32 {
  let tanh = tanhSoftplus(x);
  return tanh + x * (1.0 - tanh * tanh) * sigmoid(x);
}

fn tanhSlope(x: f32) -> f32 {
  let tanh = safeTanh(x);
  return 1.0 - tanh * tanh;
}

fn slope(x: f32) -> f32 {
  switch ACTIVATION {
    case 1u: { return select(0.0, 1.0, x > 0.0); }
    case 2u: { return sigmoidSlope(x, 1.0); }
    case 3u: { return geluSlope(x); }
    case 4u: { return geluTanhSlope(x); }
    case 5u: { return sigmoidSlope(x, 1.702); }
    case 6u: { return 2.0 * max(x, 0.0); }
    case 7u: { return select(0.0, geluSlope(x), gelu(x) < 10.0); }
    case 8u: { return laplaceSlope(x); }
    case 9u: { return select(0.01, 1.0, x > 0.0); }
    case 10u: { return mishSlope(x); }
    case 11u: { return select(0.0, 1.0, x > 0.0 && x < 6.0); }
    case 12u: { return sigmoid(x) * sigmoid(-x); }
    case 13u: { return tanhSlope(x); }
    default: { return 1.0; }
  }
}
