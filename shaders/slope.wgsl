// The derivative of a function of each element by itself, in place of the element: x = act'(x), or that of a soft cap.
// Grid: x = ceil(count / 64), folded into y.

struct Params {
  count: u32,
  start: u32,
  softCap: f32,
}

override HAS_SOFT_CAP: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read_write> x: array<f32>;

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
    default: { return 1.0; }
  }
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.count) {
    return;
  }
  let at = params.start + index;
  if (HAS_SOFT_CAP) {
    let tanh = safeTanh(x[at] / params.softCap);
    x[at] = 1.0 - tanh * tanh;
  } else {
    x[at] = slope(x[at]);
  }
}
