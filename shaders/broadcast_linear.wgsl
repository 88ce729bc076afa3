// A step of matmul_broadcast.wgsl with weights [out, in]: four k, since four neighbouring weights are four k of a column.

alias RowStep = vec4<f32>;

fn rowStep(start: u32, k: u32) -> RowStep {
  return row4(start, k, params.width);
}

// W[column .. column + 3, k .. k + 3], one vector a k.
fn weightStep(column: u32, k: u32) -> mat4x4<f32> {
  return weightBlock(column, k);
}
