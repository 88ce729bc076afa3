// The left operand of a matmul that lies turned, [k, row] with stride `rowStride`: of the rows of a pass those that a gradient of
// weights sums over. Elements past the width read as zero. See rows_aligned.wgsl.

@group(1) @binding(0) var<storage, read> rows: array<f32>;

fn rowElement(start: u32, column: u32, width: u32) -> f32 {
  if (column >= width) {
    return 0.0;
  }
  return rows[start + column * params.rowStride];
}

fn row4(start: u32, column: u32, width: u32) -> vec4<f32> {
  return vec4<f32>(
    rowElement(start, column, width),
    rowElement(start, column + 1u, width),
    rowElement(start, column + 2u, width),
    rowElement(start, column + 3u, width),
  );
}

fn row2(start: u32, column: u32, width: u32) -> vec2<f32> {
  return vec2<f32>(rowElement(start, column, width), rowElement(start, column + 1u, width));
}
