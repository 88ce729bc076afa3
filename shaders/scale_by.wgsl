// Elements times one number, in place: x[start + i] *= factor[0] for i < count.
// Grid: x = ceil(count / 64), folded into y.

struct Params {
  count: u32,
  start: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> factor: array<f32>;
@group(1) @binding(1) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.count) {
    return;
  }
  x[params.start + index] *= factor[0];
}
