// out[r, d] = sum over heads of result[r, h, d] + bias[d]: attention's output from its heads' parts.
// Grid: x = ceil(rowCount * width / 64), folded into y.

struct Params {
  rowCount: u32,
  nHeads: u32,
  width: u32,
  scale: f32,
}

override HAS_BIAS: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> result: array<f32>;
@group(1) @binding(1) var<storage, read> bias: array<f32>;
@group(1) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.rowCount * params.width) {
    return;
  }
  let d = index % params.width;
  var sum = 0.0;
  for (var head = 0u; head < params.nHeads; head++) {
    sum += result[((index / params.width) * params.nHeads + head) * params.width + d];
  }
  if (HAS_BIAS) {
    sum += bias[d];
  }
  out[index] = sum * params.scale;
}
