// AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), in PyTorch's order of operations, for one weight:
//   g = gradient * clip factor;  w -= lr * decay * w
//   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//   w -= lr / correction1 * m / (sqrt(v) / rootCorrection2 + eps),  corrections 1 - beta^step and its square root
// The gradient is set to zero for the next step. Once a norm was not finite, nothing moves: see gradient_norm.wgsl.
// Grid: x = ceil(count / 64), folded into y.

struct Params {
  count: u32,
  lr: f32,
  decay: f32,
  beta1: f32,
  beta2: f32,
  eps: f32,
  correction1: f32,
  rootCorrection2: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> norm: array<f32>;
@group(1) @binding(1) var<storage, read_write> weights: array<f32>;
@group(1) @binding(2) var<storage, read_write> gradient: array<f32>;
@group(1) @binding(3) var<storage, read_write> m: array<f32>;
@group(1) @binding(4) var<storage, read_write> v: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let i = id.y * grid.x * 64u + id.x;
  if (i >= params.count || norm[2] != 0.0) {
    return;
  }
  let g = gradient[i] * norm[1];
  gradient[i] = 0.0;
  let mean = params.beta1 * m[i] + (1.0 - params.beta1) * g;
  let square = params.beta2 * v[i] + (1.0 - params.beta2) * g * g;
  m[i] = mean;
  v[i] = square;
  let w = weights[i] * (1.0 - params.lr * params.decay);
  weights[i] = w - params.lr / params.correction1 * mean / (sqrt(square) / params.rootCorrection2 + params.eps);
}
