// out[n, r] = x[start + r * rowStride + n]: rows as columns, for products over the rows of a pass. Rows of `out` have
// 4 * rowCount4 elements; those beyond rowCount are zero.
// One invocation four rows of a column, neighbours side by side. Grid: x = ceil(width * rowCount4 / 64), folded into y.

struct Params {
  rowCount: u32,
  rowCount4: u32,
  width: u32,
  start: u32,
  rowStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> x: array<f32>;
@group(1) @binding(1) var<storage, read_write> out: array<vec4<f32>>;

fn element(row: u32, column: u32) -> f32 {
  if (row >= params.rowCount) {
    return 0.0;
  }
  return x[params.start + row * params.rowStride + column];
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.width * params.rowCount4) {
    return;
  }
  let column = index % params.width;
  let row4 = index / params.width;
  let row = 4u * row4;
  out[column * params.rowCount4 + row4] =
    vec4<f32>(element(row, column), element(row + 1u, column), element(row + 2u, column), element(row + 3u, column));
}
