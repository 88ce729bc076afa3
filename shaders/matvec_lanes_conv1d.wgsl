// Matmul of a single row with weights [in, out], each invocation keeping COLUMNS4 x 4 columns: neighbouring ones
// read one run of memory at each k, and nothing is shared between them.
//
// For adapters that run on a CPU. 768 x 3072 in f32, GB/s of weights, medians of 7 in one run, columns x invocations (k a
// step):
//                        8 x 8   16 x 8   32 x 8   8 x 8 (2)   16 x 8 (2)   16 x 8 (4)
//   lavapipe, Dawn         7.6      8.3      7.9         8.1          7.9
//   lavapipe, wgpu        14.4     14.3     10.8        11.1          8.9
//   SwiftShader, Dawn      2.1      3.1      3.1         3.1          4.2          2.6
//   SwiftShader, wgpu      2.2      2.9                               3.5          2.3
// 24 matrices in turn, which no cache holds, 8 x 8 and 16 x 8 on lavapipe, medians of 10 in one run:
//             768 x 768    768 x 2304    768 x 3072    3072 x 768
//   Dawn       7.7   8.0   11.1   10.9   11.3   11.4   11.4   11.4
//   wgpu       5.8   6.2    9.3   10.4   10.2   10.8   10.4   11.5
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
  let next = params.weightStride / 4u;
  for (var k = 0u; k < params.width; k += STEP) {
    // Past the width a zero meets the last row of W again.
    let last = params.width - 1u - k;
    for (var j = 0u; j < STEP; j++) {
      let x = vec4<f32>(select(0.0, rows[params.rowStart + k + j], j <= last));
      for (var c = 0u; c < COLUMNS4; c++) {
        sums[c] = fma(x, weight4(base[c] + min(j, last) * next), sums[c]);
      }
    }
    for (var c = 0u; c < COLUMNS4; c++) {
      base[c] += STEP * next;
    }
  }
  let call = params;
  for (var c = 0u; c < COLUMNS4; c++) {
    store4(call, 0u, column + 4u * c, sums[c]);
  }
}
