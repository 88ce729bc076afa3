// Matmul for one to four rows, one at a time, with weights [in, out] on a GPU: LANES neighbouring invocations read LANES vec4 of one
// row of W (coalesced), SLICES groups of them take a slice of the k each, and their parts are added through workgroup
// memory. Grid: x = ceil(outWidth / (4 * LANES)), y = rowCount.

var<workgroup> partial: array<vec4<f32>, LANES * SLICES>;

@compute @workgroup_size(LANES * SLICES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let lane = thread % LANES;
  let column = (group.x * LANES + lane) * 4u;
  let row = rowBase(group.y);
  let base = columnBase(column);
  var sum = vec4<f32>();
  for (var k = thread / LANES; k < params.width; k += SLICES) {
    sum = fma(vec4<f32>(rows[row + k]), weight4(base + k * params.weightStride / 4u), sum);
  }
  partial[thread] = sum;
  workgroupBarrier();
  if (thread < LANES) {
    for (var i = 1u; i < SLICES; i++) {
      sum += partial[thread + i * LANES];
    }
    store4(params, group.y, column, sum);
  }
}
