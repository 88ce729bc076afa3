// Q2_K: scale * s * code - least * m. A block of 256 has 21 words: sixteen s (lower four bits) and m (upper), codes of two bits,
// scale and least. Of each half of the block, four runs of 32 share bytes.

fn weight4(index: u32) -> vec4<f32> {
  let block = index / 64u * 21u;
  let four = index % 64u;
  let both = byteAt(block, four / 4u);
  let numbers = unpack2x16float(weights[block + 20u]) * vec2<f32>(vec2<u32>(both & 15u, both >> 4u));
  let codes = codesAt(block + 4u + four / 32u * 8u + four % 8u, four / 8u % 4u * 2u, 3u);
  return numbers.x * vec4<f32>(codes) - numbers.y;
}
