// Matrix product of a single row with weights [in, out], each invocation keeping COLUMNS4 x 4 columns: neighbouring ones
// read one run of memory at each k, and nothing is shared between them.
//
// For adapters that run on a CPU. 768 x 3072 in f32, GB/s of weights, medians of 7 in one run: columns x invocations
// 8 x 8 6.3 and 4.1, 16 x 8 6.3 and 4.1, 4 x 8 5.1 and 3.8 (lavapipe with Dawn, with wgpu); four k a step: 5.1 and 3.3.
// Grid: x = ceil(outWidth / (COLUMNS4 * 4 * LANES)), folded into y.

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let column = ((group.y * grid.x + group.x) * LANES + thread) * COLUMNS4 * 4u;
  if (column >= params.outWidth) {
    return;
  }
  var sums: array<vec4<f32>, COLUMNS4>;
  var base: array<u32, COLUMNS4>;
  for (var c = 0u; c < COLUMNS4; c++) {
    base[c] = columnBase(column + 4u * c);
  }
  for (var k = 0u; k < params.width; k++) {
    let x = rows[params.rowStart + k];
    for (var c = 0u; c < COLUMNS4; c++) {
      sums[c] = fma(vec4<f32>(x), weight4(base[c]), sums[c]);
      base[c] += params.weightStride / 4u;
    }
  }
  for (var c = 0u; c < COLUMNS4; c++) {
    store4(0u, column + 4u * c, sums[c]);
  }
}
