// A step of matmul_broadcast.wgsl with weights [in, out]: two k. On lavapipe 8 x 8 then runs at 35 GFLOP/s against 27 with
// four and 30 with one; on SwiftShader 5.8, 5.6 and 4.5 (8 x 3072 x 768, medians of 5 in one run).

alias RowStep = vec2<f32>;

fn rowStep(start: u32, k: u32) -> RowStep {
  return row2(start, k, params.width);
}

// W[column .. column + 3, k .. k + 1], one vector a k. Rows of W past the end are read nowhere: they meet zeros.
fn weightStep(column: u32, k: u32) -> mat2x4<f32> {
  let base = columnBase(column) + k * params.weightStride / 4u;
  return mat2x4<f32>(weight4(base), weight4(base + min(1u, params.width - 1u - k) * params.weightStride / 4u));
}
