// AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), in PyTorch's order of operations, for four weights at once:
//   g = gradient * clip factor;  w -= lr * decay * w
//   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//   w -= lr / correction1 * m / (sqrt(v) / rootCorrection2 + eps),  corrections 1 - beta^step and its square root
// Gradients and moments of all weights lie one after another in a buffer each, a weight in a buffer of its own. Weight n has
// `count` elements, and its gradient is from element `start` on; weights that there are not have none and start at the end.
// The gradient is set to zero for the next step. Once a norm was not finite, nothing moves: see gradient_norm.wgsl.
// Elements are numbers, or four of them where all lengths are whole fours.
// Grid: x = ceil((end of the last weight - start0) / 64), folded into y.

struct Params {
  lr: f32,
  beta1: f32,
  beta2: f32,
  eps: f32,
  correction1: f32,
  rootCorrection2: f32,
  start0: u32,
  start1: u32,
  start2: u32,
  start3: u32,
  count0: u32,
  count1: u32,
  count2: u32,
  count3: u32,
  decay0: f32,
  decay1: f32,
  decay2: f32,
  decay3: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> norm: array<f32>;
@group(1) @binding(1) var<storage, read_write> gradient: array<Element>;
@group(1) @binding(2) var<storage, read_write> m: array<Element>;
@group(1) @binding(3) var<storage, read_write> v: array<Element>;
@group(1) @binding(4) var<storage, read_write> weight0: array<Element>;
@group(1) @binding(5) var<storage, read_write> weight1: array<Element>;
@group(1) @binding(6) var<storage, read_write> weight2: array<Element>;
@group(1) @binding(7) var<storage, read_write> weight3: array<Element>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let i = params.start0 + id.y * grid.x * 64u + id.x;
  var weight = 0u;
  var start = params.start0;
  var count = params.count0;
  var decay = params.decay0;
  if (i >= params.start1) {
    weight = 1u;
    start = params.start1;
    count = params.count1;
    decay = params.decay1;
  }
  if (i >= params.start2) {
    weight = 2u;
    start = params.start2;
    count = params.count2;
    decay = params.decay2;
  }
  if (i >= params.start3) {
    weight = 3u;
    start = params.start3;
    count = params.count3;
    decay = params.decay3;
  }
  let at = i - start;
  if (at >= count || norm[2] != 0.0) {
    return;
  }
  let g = gradient[i] * norm[1];
  gradient[i] = Element();
  let mean = params.beta1 * m[i] + (1.0 - params.beta1) * g;
  let square = params.beta2 * v[i] + (1.0 - params.beta2) * g * g;
  m[i] = mean;
  v[i] = square;
  let kept = 1.0 - params.lr * decay;
  let step = params.lr / params.correction1 * mean / (sqrt(square) / params.rootCorrection2 + params.eps);
  switch (weight) {
    case 0u: {
      weight0[at] = weight0[at] * kept - step;
    }
    case 1u: {
      weight1[at] = weight1[at] * kept - step;
    }
    case 2u: {
      weight2[at] = weight2[at] * kept - step;
    }
    default: {
      weight3[at] = weight3[at] * kept - step;
    }
  }
}
