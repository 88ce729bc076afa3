// Matmul by outer products in registers, without workgroup memory: each invocation keeps a block of ROWS rows and
// COLUMNS4 x 4 columns of the result and adds one outer product a k. Neighbouring invocations take neighbouring columns and
// the same rows, packed [k, row], so that these are the same for all of a workgroup.
//
// For adapters that run on a CPU and have no subgroups (see matmul_broadcast.wgsl). 128 x 768 x 3072, GFLOP/s, medians of 5
// in one run, weights [in, out]:
//   rows x columns x invocations   lavapipe (Dawn)   lavapipe (wgpu)   SwiftShader
//   16 x 8 x 8                       19.6              14.5              4.2
//   16 x 16 x 8                      20.4              14.9              3.8
//   16 x 8 x 16                      19.6              13.9              4.3
//   8 x 8 x 8                        16.7              12.7              3.2
//   16 x 4 x 8                       14.3                                3.2
//   8 x 4 x 8                        9.9               9.9               2.1
// Rows read as they lie, [row, k], instead of packed: 10 to 14 on lavapipe. Four k a step instead of one: half, and with
// weights [out, in], of which four neighbours are four k, still 14.1 against 25.7 (16 x 8 x 8), 10.8 against 16.8 (8 x 8 x 8,
// eight rows): so much code outgrows what a CPU keeps decoded. Only SwiftShader is then faster, 4.5 against 3.7.
//
// Grid: x = ceil(outWidth / (COLUMNS4 * 4 * LANES)), y = ceil(rowCount / ROWS).

@group(1) @binding(0) var<storage, read> rows: array<vec4<f32>>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let column = (group.x * LANES + thread) * COLUMNS4 * 4u;
  let row = group.y * ROWS;
  if (column >= params.outWidth) {
    return;
  }
  var sums: array<vec4<f32>, ROWS * COLUMNS4>;
  var columns: array<Columns4, COLUMNS4>;
  for (var c = 0u; c < COLUMNS4; c++) {
    columns[c] = columns4(column + 4u * c);
  }
  var at = row / 4u;
  for (var k = 0u; k < params.width; k++) {
    var x: array<vec4<f32>, ROWS4>;
    for (var r = 0u; r < ROWS4; r++) {
      x[r] = rows[at + r];
    }
    for (var c = 0u; c < COLUMNS4; c++) {
      let w = weightsAt(columns[c], k);
      for (var r = 0u; r < ROWS4; r++) {
        sums[(4u * r) * COLUMNS4 + c] = fma(vec4<f32>(x[r].x), w, sums[(4u * r) * COLUMNS4 + c]);
        sums[(4u * r + 1u) * COLUMNS4 + c] = fma(vec4<f32>(x[r].y), w, sums[(4u * r + 1u) * COLUMNS4 + c]);
        sums[(4u * r + 2u) * COLUMNS4 + c] = fma(vec4<f32>(x[r].z), w, sums[(4u * r + 2u) * COLUMNS4 + c]);
        sums[(4u * r + 3u) * COLUMNS4 + c] = fma(vec4<f32>(x[r].w), w, sums[(4u * r + 3u) * COLUMNS4 + c]);
      }
    }
    at += params.rowStride;
  }
  storeBlock(row, column, &sums);
}
