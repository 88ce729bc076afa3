// The way back through experts' matrices: out[row, slot, k] = sum over n of dy[row, slot, n] W[expert, n, k], four k an invocation.
// Joined to weights_* and expert_rows. Grid: x = ceil(pairCount * ceil(width / 4) / 64), folded into y.

// Adds to what earlier parts of the matrices gave.
override ADDS: bool = false;

@group(1) @binding(0) var<storage, read> dy: array<f32>;
@group(1) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  let width4 = (params.width + 3u) / 4u;
  if (index >= params.pairCount * width4) {
    return;
  }
  let pair = index / width4;
  let k4 = index % width4;
  let expert = expertOf(pair);
  let start = gradStartOf(pair);
  var sum = vec4<f32>();
  for (var n = 0u; n < params.outWidth; n++) {
    let stacked = expert * params.outWidth + n;
    if (stacked >= params.firstRow && stacked < params.firstRow + params.partRows) {
      sum += dy[start + n] * weight4((stacked - params.firstRow) * params.weightStride / 4u + k4);
    }
  }
  for (var i = 0u; i < min(4u, params.width - k4 * 4u); i++) {
    let at = pair * params.width + k4 * 4u + i;
    if (ADDS) {
      out[at] += sum[i];
    } else {
      out[at] = sum[i];
    }
  }
}
