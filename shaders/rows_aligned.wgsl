// The left operand of a matmul whose rows start at multiples of four elements, with a width that is one.
// `rows_any.wgsl` defines the same function for every other width.

@group(1) @binding(0) var<storage, read> rows: array<vec4<f32>>;

// Elements column .. column + 3 of the row that starts at element `start`; `column` is a multiple of four.
fn row4(start: u32, column: u32, width: u32) -> vec4<f32> {
  return rows[(start + column) / 4u];
}
