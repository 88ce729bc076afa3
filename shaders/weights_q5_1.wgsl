// Q5_1: scale * code + least. A block of 32 has 6 words: scale and least, fifth bits, four lower bits. See weights_q5_0.wgsl.

fn numbersAt(unit: u32) -> vec2<f32> {
  return unpack2x16float(weights[unit / 2u * 6u]);
}

fn codesAt(four: u32) -> vec4<f32> {
  let block = four / 8u * 6u;
  let low = fields(block + 2u + four % 4u, four / 4u % 2u * 4u, 15u);
  let fifth = (vec4<u32>(weights[block + 1u]) >> (vec4<u32>(0u, 1u, 2u, 3u) + vec4<u32>(four % 8u * 4u))) & vec4<u32>(1u);
  return vec4<f32>(low | (fifth << vec4<u32>(4u)));
}
