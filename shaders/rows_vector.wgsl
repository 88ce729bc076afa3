// The left operand of a matmul, element by element. See rows_aligned.wgsl.

@group(1) @binding(0) var<storage, read> rows: array<f32>;
