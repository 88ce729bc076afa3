// The left operand of a matmul that lies turned, [k, row] with stride `rowStride`: of the rows of a pass those that a gradient of
// weights sums over. Elements past the width read as zero, by `select`: with a branch SwiftShader took twice as long
// (512 x 768 x 768, medians of 9: 806 ms, and 450 without). See rows_aligned.wgsl.

@group(1) @binding(0) var<storage, read> rows: array<f32>;

fn rowElement(start: u32, column: u32, width: u32) -> f32 {
  return select(0.0, rows[start + min(column, width - 1u) * params.rowStride], column < width);
}

fn row4(start: u32, column: u32, width: u32) -> vec4<f32> {
  return vec4<f32>(
    rowElement(start, column, width),
    rowElement(start, column + 1u, width),
    rowElement(start, column + 2u, width),
    rowElement(start, column + 3u, width),
  );
}

// `column` is below the width.
fn row2(start: u32, column: u32, width: u32) -> vec2<f32> {
  return vec2<f32>(rows[start + column * params.rowStride], rowElement(start, column + 1u, width));
}
