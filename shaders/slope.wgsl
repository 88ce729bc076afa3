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
