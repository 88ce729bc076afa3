// The derivatives of the activation functions of activation.wgsl, to which it is joined.

// x * sigmoid(k x) has the derivative sigmoid(k x) * (1 + k x * sigmoid(-k x)).
fn sigmoidSlope(x: f32, k: f32) -> f32 {
  return sigmoid(k * x) * (1.0 + k * x * sigmoid(-k * x));
}

fn geluTanhSlope(x: f32) -> f32 {
  let tanh = safeTanh(0.79788456 * fma(0.044715 * x * x, x, x));
  return 0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * 0.79788456 * (1.0 + 0.134145 * x * x);
}

fn slope(x: f32) -> f32 {
  switch ACTIVATION {
    case 1u: { return select(0.0, 1.0, x > 0.0); }
    case 2u: { return sigmoidSlope(x, 1.0); }
    // exp underflows to zero far out, where x * exp(-x^2 / 2) is zero as well.
    case 3u: { return 0.5 * erfc(-x * 0.70710678) + 0.39894228 * x * exp(-0.5 * x * x); }
    case 4u: { return geluTanhSlope(x); }
    case 5u: { return sigmoidSlope(x, 1.702); }
    case 6u: { return sigmoid(x) * sigmoid(-x); }
    default: { return 1.0; }
  }
}
