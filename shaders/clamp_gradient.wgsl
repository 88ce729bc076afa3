// Back through clamp.wgsl, in place of the gradient: grad = 0 where x < least or x > most.
// Grid: x = ceil(rowCount * width / 64), folded into y.

struct Params {
  rowCount: u32,
  width: u32, // elements of a row, `start` into it, `rowStride` from one row to the next
  start: u32,
  rowStride: u32,
  gradStart: u32,
  gradStride: u32,
  least: f32,
  most: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> x: array<f32>;
@group(1) @binding(1) var<storage, read_write> grad: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.rowCount * params.width) {
    return;
  }
  let row = index / params.width;
  let at = params.start + row * params.rowStride + index % params.width;
  if (x[at] < params.least || x[at] > params.most) {
    grad[params.gradStart + row * params.gradStride + index % params.width] = 0.0;
  }
}
