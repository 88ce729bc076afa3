// How often each number of a row is above 0: out[column] += the rows where it is. x [rowCount, width]. One invocation a column.
// Grid: x = ceil(width / 64), folded into y.

struct Params {
  rowCount: u32,
  width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> x: array<f32>;
@group(1) @binding(1) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let column = id.y * grid.x * 64u + id.x;
  if (column >= params.width) {
    return;
  }
  var count = 0u;
  for (var row = 0u; row < params.rowCount; row++) {
    count += select(0u, 1u, x[row * params.width + column] > 0.0);
  }
  out[column] += count;
}
