// A weight matrix as GPT-2's Conv1D stores it, [in, out]: four neighbouring weights are four columns of the result at one
// k. See weights_linear.wgsl.

// Where columns n .. n + 3 begin, n a multiple of four; one k further is `weightStride` elements further.
fn columnBase(column: u32) -> u32 {
  return (params.weightStart + min(column, params.weightStride - 4u)) / 4u;
}

// W[column .. column + 3, k .. k + 3], one vector a k. Rows past the end are read nowhere: they meet zeros.
fn weightBlock(column: u32, k: u32) -> mat4x4<f32> {
  let base = columnBase(column) + k * params.weightStride / 4u;
  let next = params.weightStride / 4u;
  let last = params.width - 1u - k;
  return mat4x4<f32>(
    weight4(base),
    weight4(base + min(1u, last) * next),
    weight4(base + min(2u, last) * next),
    weight4(base + min(3u, last) * next),
  );
}

fn weightAt(column: u32, k: u32) -> f32 {
  return weight(params.weightStart + k * params.weightStride + column);
}

// Where columns n .. n + 3 of the result begin, n a multiple of four, and their weights at one k.
alias Columns4 = u32;

fn columns4(column: u32) -> Columns4 {
  return columnBase(column);
}

fn weightsAt(columns: Columns4, k: u32) -> vec4<f32> {
  return weight4(columns + k * params.weightStride / 4u);
}
