// What the rows of a pass add to the gradient of an embedding table: for each row of the table that occurs,
//   out[tableRow, d] += scale * sum over its rows r of dy[r, d]
// entries: (tableRow, first, end) of each, where first .. end are its places in `rows`. One invocation an element: no two
// write one place, and the sum has one order. Grid: x = ceil(entryCount * width / 64), folded into y.

struct Params {
  entryCount: u32,
  width: u32,
  tableStride: u32,
  scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> entries: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> rows: array<u32>;
@group(1) @binding(2) var<storage, read> dy: array<f32>;
@group(1) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.entryCount * params.width) {
    return;
  }
  let entry = entries[index / params.width];
  let d = index % params.width;
  var sum = 0.0;
  for (var place = entry.y; place < entry.z; place++) {
    sum += dy[rows[place] * params.width + d];
  }
  out[entry.x * params.tableStride + d] += params.scale * sum;
}
