// Q4_1: scale * code + least. A block of 32 has 5 words: scale and least, 32 codes of four bits. See weights_q4_0.wgsl.

fn numbersAt(unit: u32) -> vec2<f32> {
  return unpack2x16float(weights[unit / 2u * 5u]);
}

fn codesAt(four: u32) -> vec4<f32> {
  return vec4<f32>(fields(four / 8u * 5u + 1u + four % 4u, four / 4u % 2u * 4u, 15u));
}
