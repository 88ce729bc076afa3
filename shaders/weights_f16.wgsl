// Weights stored as f16, two to a u32, the lower half first. Needs no `shader-f16`: unpack2x16float is core WGSL.
// See weights_f32.wgsl.

@group(1) @binding(1) var<storage, read> weights: array<vec2<u32>>;

fn weight4(index: u32) -> vec4<f32> {
  let packed = weights[index];
  return vec4<f32>(unpack2x16float(packed.x), unpack2x16float(packed.y));
}

fn weight(element: u32) -> f32 {
  let pair = unpack2x16float(weights[element / 4u][(element / 2u) % 2u]);
  return pair[element % 2u];
}
