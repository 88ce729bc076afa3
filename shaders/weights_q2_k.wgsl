// Q2_K: scale * s * code - least * m. A block of 256 has 21 words: sixteen s (lower four bits) and m (upper), codes of two bits,
// scale and least. Of each half of the block, four runs of 32 share bytes.

fn numbersAt(unit: u32) -> vec2<f32> {
  let block = unit / 16u * 21u;
  let both = byteAt(block, unit % 16u);
  return unpack2x16float(weights[block + 20u]) * vec2<f32>(vec2<u32>(both & 15u, both >> 4u)) * vec2<f32>(1.0, -1.0);
}

fn codesAt(four: u32) -> vec4<f32> {
  return vec4<f32>(fields(four / 64u * 21u + 4u + four / 32u % 2u * 8u + four % 8u, four / 8u % 4u * 2u, 3u));
}
