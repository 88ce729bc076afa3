// Matrix product by outer products in registers for weights [out, in]: matmul_block_conv1d.wgsl with four k a step, since
// four neighbouring weights are four k of one column here.
//
// 128 x 768 x 3072, GFLOP/s, medians of 5 in one run:
//   rows x columns x invocations   lavapipe (Dawn)   lavapipe (wgpu)   SwiftShader
//   16 x 8 x 8                       8.8               8.3               3.7
//   16 x 16 x 8                      13.2                                4.5
//   8 x 8 x 8                        10.1              7.6               3.6
//   8 x 4 x 8                        6.6               7.4               3.0
// Half of what [in, out] gives on lavapipe: each invocation walks rows of W of its own, and 64 of them that begin 3072
// bytes apart share few sets of the first cache.
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
  var base: array<u32, 4u * COLUMNS4>;
  for (var c = 0u; c < COLUMNS4; c++) {
    base[4u * c] = columnBase(column + 4u * c);
    base[4u * c + 1u] = columnBase(column + 4u * c + 1u);
    base[4u * c + 2u] = columnBase(column + 4u * c + 2u);
    base[4u * c + 3u] = columnBase(column + 4u * c + 3u);
  }
  for (var k4 = 0u; k4 * 4u < params.width; k4++) {
    let at = k4 * 4u * params.rowStride + row / 4u;
    var x: array<vec4<f32>, STEP * ROWS4>;
    for (var j = 0u; j < STEP; j++) {
      for (var r = 0u; r < ROWS4; r++) {
        x[j * ROWS4 + r] = rows[at + j * params.rowStride + r];
      }
    }
    for (var c = 0u; c < COLUMNS4; c++) {
      let w = transpose(mat4x4<f32>(
        weight4(base[4u * c] + k4),
        weight4(base[4u * c + 1u] + k4),
        weight4(base[4u * c + 2u] + k4),
        weight4(base[4u * c + 3u] + k4),
      ));
      for (var j = 0u; j < STEP; j++) {
        for (var r = 0u; r < ROWS4; r++) {
          sums[(4u * r) * COLUMNS4 + c] = fma(vec4<f32>(x[j * ROWS4 + r].x), w[j], sums[(4u * r) * COLUMNS4 + c]);
          sums[(4u * r + 1u) * COLUMNS4 + c] = fma(vec4<f32>(x[j * ROWS4 + r].y), w[j], sums[(4u * r + 1u) * COLUMNS4 + c]);
          sums[(4u * r + 2u) * COLUMNS4 + c] = fma(vec4<f32>(x[j * ROWS4 + r].z), w[j], sums[(4u * r + 2u) * COLUMNS4 + c]);
          sums[(4u * r + 3u) * COLUMNS4 + c] = fma(vec4<f32>(x[j * ROWS4 + r].w), w[j], sums[(4u * r + 3u) * COLUMNS4 + c]);
        }
      }
    }
  }
  // One row after the other, so that the epilogue is compiled once and not for each of the block's rows: that alone took
  // 0.2 to 0.5 s on lavapipe.
  for (var i = 0u; i < min(ROWS, params.rowCount - row); i++) {
    var line: array<vec4<f32>, COLUMNS4>;
    for (var r = 0u; r < ROWS; r++) {
      if (i == r) {
        for (var c = 0u; c < COLUMNS4; c++) {
          line[c] = sums[r * COLUMNS4 + c];
        }
      }
    }
    for (var c = 0u; c < COLUMNS4; c++) {
      store4(row + i, column + 4u * c, line[c]);
    }
  }
}
