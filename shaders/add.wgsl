// out[i] (+)= x[i] * scale. Grid: x = ceil(count / 64), folded into y.

struct Params {
  count: u32,
  scale: f32,
}

override ACCUMULATE: bool = true;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> x: array<f32>;
@group(1) @binding(1) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.count) {
    return;
  }
  if (ACCUMULATE) {
    out[index] += x[index] * params.scale;
  } else {
    out[index] = x[index] * params.scale;
  }
}
