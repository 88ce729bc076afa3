// The left operand of a matmul, two elements at a time; start and width are even. See rows_aligned.wgsl.

@group(1) @binding(0) var<storage, read> rows: array<vec2<f32>>;

// Elements column and column + 1 of the row that starts at element `start`; `column` is even.
fn row2(start: u32, column: u32, width: u32) -> vec2<f32> {
  return rows[(start + column) / 2u];
}
