// The epilogue of a block in registers: ROWS rows and COLUMNS4 x 4 columns of the result, from `row` and `column` on.
//
// One row after the other, so that it is compiled once and not for each of the block's rows: that alone took 0.2 to 0.5 s on
// lavapipe. An index that is no constant takes an array out of registers, so it goes to a copy, which costs less than to pick
// the row by comparing `i` with each: 128 x 256 x 1024 in 1.65 against 1.76 ms on lavapipe (32 x 8), 14.8 against 15.6 on
// SwiftShader (16 x 8, medians of 30 and 8 in one run).

fn storeBlock(row: u32, column: u32, sums: ptr<function, array<vec4<f32>, ROWS * COLUMNS4>>) {
  var block = *sums;
  for (var i = 0u; i < min(ROWS, params.rowCount - row); i++) {
    for (var c = 0u; c < COLUMNS4; c++) {
      store4(row + i, column + 4u * c, block[i * COLUMNS4 + c]);
    }
  }
}
