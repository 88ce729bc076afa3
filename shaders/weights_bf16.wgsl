// Weights stored as bf16, two to a u32, the lower half first. A bf16 is the upper half of an f32, so unpacking is a shift.
// See weights_f32.wgsl.

@group(1) @binding(1) var<storage, read> weights: array<vec2<u32>>;

fn unpackPair(packed: u32) -> vec2<f32> {
  return bitcast<vec2<f32>>(vec2<u32>(packed << 16u, packed & 0xffff0000u));
}

fn weight4(index: u32) -> vec4<f32> {
  let packed = weights[index];
  return vec4<f32>(unpackPair(packed.x), unpackPair(packed.y));
}

fn weight(element: u32) -> f32 {
  let pair = unpackPair(weights[element / 4u][(element / 2u) % 2u]);
  return pair[element % 2u];
}
