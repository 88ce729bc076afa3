// out[r, h] = a[r, h] . b[r, h]: the gradient of the weights of experts. b may have one vector for all h (`headStride` 0).
// Grid: x = ceil(rowCount * heads / 64), folded into y.

struct Params {
  count: u32, // rowCount * heads
  heads: u32,
  width: u32,
  start: u32,
  rowStride: u32,
  headStride: u32,
  otherStart: u32,
  otherRowStride: u32,
  otherHeadStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> a: array<f32>;
@group(1) @binding(1) var<storage, read> b: array<f32>;
@group(1) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.count) {
    return;
  }
  let row = index / params.heads;
  let head = index % params.heads;
  let first = params.start + row * params.rowStride + head * params.headStride;
  let other = params.otherStart + row * params.otherRowStride + head * params.otherHeadStride;
  var sum = 0.0;
  for (var d = 0u; d < params.width; d++) {
    sum += a[first + d] * b[other + d];
  }
  out[index] = sum;
}
