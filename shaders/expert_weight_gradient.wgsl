// Gradients of experts' matrices and biases: dW[expert, n, k] += sum over its pairs of dy[pair, n] x[pair, k], four k an invocation;
// with BIAS db[expert, n] += sum over its pairs of dy[pair, n], one n an invocation.
// Joined to expert_rows. Grid: x = ceil(partRows * ceil(width / 4) / 64), or ceil(partRows / 64), folded into y.

override BIAS: bool = false;

@group(1) @binding(0) var<storage, read> dy: array<f32>;
@group(1) @binding(1) var<storage, read> x: array<f32>;
@group(1) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  let width4 = select((params.width + 3u) / 4u, 1u, BIAS);
  if (index >= params.partRows * width4) {
    return;
  }
  let row = index / width4;
  let k = index % width4 * 4u;
  let stacked = params.firstRow + row;
  let expert = stacked / params.outWidth;
  let n = stacked % params.outWidth;
  let count = select(min(4u, params.width - k), 1u, BIAS);
  var sum = vec4<f32>();
  for (var pair = 0u; pair < params.pairCount; pair++) {
    if (expertOf(pair) != expert) {
      continue;
    }
    let factor = dy[gradStartOf(pair) + n];
    if (BIAS) {
      sum.x += factor;
    } else {
      let start = startOf(pair) + k;
      for (var i = 0u; i < count; i++) {
        sum[i] += factor * x[start + i];
      }
    }
  }
  for (var i = 0u; i < count; i++) {
    out[row * params.weightStride + k + i] += sum[i];
  }
}
