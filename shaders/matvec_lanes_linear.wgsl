// Matmul of a single row with weights [out, in], each invocation keeping every LANES-th of COLUMNS x LANES columns
// and walking their rows of W, four k a step. For adapters that run on a CPU: 768 x 3072 in f32, GB/s of weights, medians of
// 7 in one run, columns (neighbouring ones; every LANES-th of them are read 5 to 10% faster on lavapipe, as fast on
// SwiftShader):
//                        1     2     4     8    16
//   lavapipe, Dawn      4.8   5.7   5.2   7.2
//   lavapipe, wgpu      8.5  11.2  12.2  10.9
//   SwiftShader, Dawn   1.3   1.9   2.8   3.6   2.5
//   SwiftShader, wgpu         1.8   2.6   3.2   2.3
// Grid: x = ceil(outWidth / (COLUMNS * LANES)), folded into y.

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let column = (group.y * grid.x + group.x) * LANES * COLUMNS + thread;
  if (column >= params.outWidth) {
    return;
  }
  var sums: array<vec4<f32>, COLUMNS>;
  var base: array<u32, COLUMNS>;
  for (var c = 0u; c < COLUMNS; c++) {
    base[c] = columnBase(column + c * LANES);
  }
  for (var k = 0u; k < params.width; k += 4u) {
    let x = row4(params.rowStart, k, params.width);
    for (var c = 0u; c < COLUMNS; c++) {
      sums[c] = fma(x, weight4(base[c] + k / 4u), sums[c]);
    }
  }
  var totals: array<f32, COLUMNS>;
  for (var c = 0u; c < COLUMNS; c++) {
    totals[c] = dot(sums[c], vec4<f32>(1.0));
  }
  // A loop over what there is, so that `store` is compiled once.
  let call = params;
  for (var c = 0u; c < min(COLUMNS, 1u + (call.outWidth - 1u - column) / LANES); c++) {
    store(call, 0u, column + c * LANES, totals[c]);
  }
}
