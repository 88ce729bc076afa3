// The left operand of a matrix product, element by element. See rows_aligned.wgsl.

@group(0) @binding(1) var<storage, read> rows: array<f32>;
