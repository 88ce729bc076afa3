// Matmul for up to four rows with weights [out, in] on a GPU: limited by reading W once, so LANES neighbouring
// invocations share one column, read its weights as consecutive vec4 (coalesced) and add up their parts through workgroup
// memory. A workgroup of COLUMNS x LANES does COLUMNS columns.
// Grid: workgroups over columns, folded into y when there are more than a dimension holds; z = ceil(rowCount / 4).

var<workgroup> partial: array<vec4<f32>, COLUMNS * LANES>;

@compute @workgroup_size(COLUMNS * LANES)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let lane = thread % LANES;
  let column = (group.y * grid.x + group.x) * COLUMNS + thread / LANES;
  let row = group.z * 4u;
  let base = columnBase(column);
  let rowsHere = min(4u, params.rowCount - row);
  var sum = vec4<f32>();
  for (var k = lane * 4u; k < params.width; k += LANES * 4u) {
    let w = weight4(base + k / 4u);
    sum.x += dot(w, row4(rowBase(row), k, params.width));
    if (rowsHere > 1u) {
      sum.y += dot(w, row4(rowBase(row + 1u), k, params.width));
    }
    if (rowsHere > 2u) {
      sum.z += dot(w, row4(rowBase(row + 2u), k, params.width));
    }
    if (rowsHere > 3u) {
      sum.w += dot(w, row4(rowBase(row + 3u), k, params.width));
    }
  }
  partial[thread] = sum;
  workgroupBarrier();
  if (lane < rowsHere) {
    // The first four of a column's invocations each finish one row.
    var total = 0.0;
    for (var i = 0u; i < LANES; i++) {
      total += partial[thread - lane + i][lane];
    }
    store(params, row + lane, column, total);
  }
}
