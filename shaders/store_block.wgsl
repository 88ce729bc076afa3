// The epilogue of a block in registers: ROWS rows and COLUMNS4 x 4 columns of the result, from `row` and `column` on.
//
// One row after the other, so that it is compiled once and not for each of the block's rows: that alone took 0.2 to 0.5 s on
// lavapipe. An index that is no constant takes an array out of registers, so it goes to a copy, which costs less than to pick
// the row by comparing `i` with each: 128 x 256 x 1024 in 1.65 against 1.76 ms on lavapipe (32 x 8), 14.8 against 15.6 on
// SwiftShader (16 x 8, medians of 30 and 8 in one run).
//
// The parameters are read once, and a vector is stored by a loop, for SwiftShader: compiled in 88 ms in place of 147 (4 x 8 of
// [out, in]), 103 and 148 (8 x 8), 81 and 115 (8 x 8 of [in, out]), without subgroups 47 to 91 and 63 to 114; run as fast as
// before, there and on lavapipe (0.92 to 1.13 at 768 x 768 and 256 x 1024). One loop over all vectors saves another fifth, and
// took lavapipe 5 to 11% longer for 32 rows.

fn storeBlock(row: u32, column: u32, sums: ptr<function, array<vec4<f32>, ROWS * COLUMNS4>>) {
  var block = *sums;
  let call = params;
  for (var i = 0u; i < min(ROWS, call.rowCount - row); i++) {
    for (var c = 0u; c < COLUMNS4; c++) {
      store4(call, row + i, column + 4u * c, block[i * COLUMNS4 + c]);
    }
  }
}
