// x = min(max(x, least), most) + plus, in place; or its derivative in place of x: 1 where x is kept, 0 where it is cut.
// Grid: x = ceil(count / 64), folded into y.

struct Params {
  count: u32,
  start: u32,
  least: f32,
  most: f32,
  plus: f32,
}

override SLOPE: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.count) {
    return;
  }
  let at = params.start + index;
  let value = x[at];
  if (SLOPE) {
    x[at] = select(0.0, 1.0, value >= params.least && value <= params.most);
  } else {
    x[at] = min(max(value, params.least), params.most) + params.plus;
  }
}
