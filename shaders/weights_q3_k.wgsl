// Q3_K: scale * (s - 32) * (code - 4). A block of 256 has 28 words: the third bits of codes (bit p of byte i belongs to element i of
// run p), two lower bits, sixteen s of six bits (lower four in two words, upper two in one), the scale. See weights_q2_k.wgsl.

fn weight4(index: u32) -> vec4<f32> {
  let block = index / 64u * 28u;
  let four = index % 64u;
  let low = codesAt(block + 8u + four / 32u * 8u + four % 8u, four / 8u % 4u * 2u, 3u);
  let third = codesAt(block + four % 8u, four / 8u, 1u);
  let part = four / 4u;
  let lower = (byteAt(block + 24u, part % 8u) >> (part / 8u * 4u)) & 15u;
  let upper = (byteAt(block + 26u, part % 4u) >> (part / 4u * 2u)) & 3u;
  let scale = unpack2x16float(weights[block + 27u]).x * (f32(lower | (upper << 4u)) - 32.0);
  return scale * (vec4<f32>(low | (third << vec4<u32>(2u))) - 4.0);
}
