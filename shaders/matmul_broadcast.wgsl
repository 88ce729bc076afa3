// Matmul by outer products in registers, rows broadcast by the subgroup: each invocation keeps ROWS rows and
// COLUMNS4 x 4 columns of the result. It reads the weights of its own columns, and of the rows only every LANES-th; the
// others it has from its neighbours. Rows are read as they lie, so nothing has to be packed. Joined to
// `broadcast_linear` or `broadcast_conv1d`, which say how many k a step are.
//
// For adapters that run on a CPU. There a load costs every invocation ten instructions (a test whether it is active, one
// whether the address is in bounds), also where all of them load the same number, which is what the rows of
// matmul_block.wgsl does; a broadcast costs one or two.
// 128 x 768 x 3072, GFLOP/s, medians of 5 in one run, rows x columns, 8 invocations on lavapipe (Dawn), 4 on SwiftShader:
//              [in, out]: block 16 x 8, this 16 x 8, 32 x 4   [out, in]: block 16 x 8, this 16 x 8, 32 x 4
//   lavapipe             32.7           48.9     28 to 47               11.5           36.5     52.3
//   SwiftShader           4.6            5.5     5.6                     4.9            7.0      6.4
// 32 x 8 on lavapipe, in one run each: 49.7 against 42.4 for 16 x 8 with [in, out] (11 to 14% more for 128 x 256 x 1024 and
// 128 x 768 x 768); with [out, in], four k a step, so much code is slower, 31.7 against 41.9 for 32 x 4. 16 x 4 on
// SwiftShader with [in, out]: 3 to 12% faster than 16 x 8 over five shapes, and less to compile (a first token of four layers
// of 256 in Chromium takes 2.8 s instead of 3.2); there the same code may run a third slower when it is compiled once more.
//
// A workgroup is one subgroup: `MATMUL_FAMILY` gives this to adapters whose subgroups have LANES invocations.
// Grid: x = ceil(outWidth / (COLUMNS4 * 4 * LANES)), y = ceil(rowCount / ROWS).

enable subgroups;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
  // No invocation leaves early, since all take part in broadcasts: columns past the end read what is there, as rows do.
  let column = (group.x * LANES + lane) * COLUMNS4 * 4u;
  let row = group.y * ROWS;
  var start: array<u32, PARTS>;
  for (var p = 0u; p < PARTS; p++) {
    start[p] = rowBase(row + p * LANES + lane);
  }
  var sums: array<vec4<f32>, ROWS * COLUMNS4>;
  for (var k = 0u; k < params.width; k += STEP) {
    var x: array<RowStep, PARTS>;
    for (var p = 0u; p < PARTS; p++) {
      x[p] = rowStep(start[p], k);
    }
    var w: array<vec4<f32>, COLUMNS4 * STEP>;
    for (var c = 0u; c < COLUMNS4; c++) {
      let block = weightStep(column + 4u * c, k);
      for (var j = 0u; j < STEP; j++) {
        w[c * STEP + j] = block[j];
      }
    }
    for (var p = 0u; p < PARTS; p++) {
      for (var l = 0u; l < SHARE; l++) {
        for (var j = 0u; j < STEP; j++) {
          let y = vec4<f32>(subgroupBroadcast(x[p][j], l));
          for (var c = 0u; c < COLUMNS4; c++) {
            sums[(p * LANES + l) * COLUMNS4 + c] = fma(y, w[c * STEP + j], sums[(p * LANES + l) * COLUMNS4 + c]);
          }
        }
      }
    }
  }
  storeBlock(row, column, &sums);
}
