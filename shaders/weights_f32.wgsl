// Weights stored as f32. Joined to every kernel that reads a weight matrix; `weights_f16` and `weights_bf16` define the
// same two functions over packed halves, so a kernel is written once and knows nothing of the storage type.
// Rows are padded to a multiple of four elements, so a row always starts at a whole vec4.

@group(1) @binding(1) var<storage, read> weights: array<vec4<f32>>;

// Four consecutive weights; `index` counts groups of four.
fn weight4(index: u32) -> vec4<f32> {
  return weights[index];
}

fn weight(element: u32) -> f32 {
  return weights[element / 4u][element % 4u];
}
