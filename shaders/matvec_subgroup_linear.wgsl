// matvec_shared_linear.wgsl for a single row, with the parts added up by a subgroup first: no barrier where a subgroup has
// all the invocations of a column, one otherwise. Needs the feature `subgroups`.
// WGSL does not promise that subgroups are runs of the local index; where they are not, the tuner's check drops this one.
// Grid: workgroups over columns, folded into y; COLUMNS a workgroup, one after the other.

enable subgroups;

var<workgroup> partial: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
  @builtin(subgroup_size) subgroupSize: u32,
  @builtin(subgroup_invocation_id) lane: u32,
) {
  let first = (group.y * grid.x + group.x) * COLUMNS;
  let subgroups = (THREADS + subgroupSize - 1u) / subgroupSize;
  for (var c = 0u; c < COLUMNS; c++) {
    let base = columnBase(first + c);
    var sum = 0.0;
    for (var k = thread * 4u; k < params.width; k += THREADS * 4u) {
      sum += dot(weight4(base + k / 4u), row4(params.rowStart, k, params.width));
    }
    let part = subgroupAdd(sum);
    workgroupBarrier(); // the last column's parts have been read
    if (lane == 0u) {
      partial[thread / subgroupSize] = part;
    }
    workgroupBarrier();
    if (thread == 0u) {
      var total = 0.0;
      for (var i = 0u; i < subgroups; i++) {
        total += partial[i];
      }
      store(0u, first + c, total);
    }
  }
}
