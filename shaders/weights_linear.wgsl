// A weight matrix as torch.nn.Linear stores it, [out, in]: four neighbouring weights are four k of one column of the
// result. `weights_conv1d.wgsl` defines the same functions for the other layout.

// Where column n of the result begins. Columns past the end read the last one instead; `store` drops what they give.
fn columnBase(column: u32) -> u32 {
  return (params.weightStart + min(column, params.outWidth - 1u) * params.weightStride) / 4u;
}

// W[column .. column + 3, k .. k + 3], one vector a k; k is a multiple of four.
fn weightBlock(column: u32, k: u32) -> mat4x4<f32> {
  return transpose(mat4x4<f32>(
    weight4(columnBase(column) + k / 4u),
    weight4(columnBase(column + 1u) + k / 4u),
    weight4(columnBase(column + 2u) + k / 4u),
    weight4(columnBase(column + 3u) + k / 4u),
  ));
}

fn weightAt(column: u32, k: u32) -> f32 {
  return weight(params.weightStart + column * params.weightStride + k);
}

// Where columns n .. n + 3 of the result begin, in elements, and their weights at one k.
alias Columns4 = vec4<u32>;

fn columns4(column: u32) -> Columns4 {
  let last = vec4<u32>(params.outWidth - 1u);
  return params.weightStart + min(column + vec4<u32>(0u, 1u, 2u, 3u), last) * params.weightStride;
}

fn weightsAt(columns: Columns4, k: u32) -> vec4<f32> {
  return vec4<f32>(weight(columns.x + k), weight(columns.y + k), weight(columns.z + k), weight(columns.w + k));
}
