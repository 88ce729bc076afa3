// Elements kept within a limit, in place: x = min(max(x, least), most) + plus.
// Grid: x = ceil(rowCount * width / 64), folded into y.

struct Params {
  rowCount: u32,
  width: u32, // elements of a row, `start` into it, `rowStride` from one row to the next
  start: u32,
  rowStride: u32,
  least: f32,
  most: f32,
  plus: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.rowCount * params.width) {
    return;
  }
  let row = index / params.width;
  let at = params.start + row * params.rowStride + index % params.width;
  x[at] = clamp(x[at], params.least, params.most) + params.plus;
}
