// Q3_K: scale * (s - 32) * (code - 4). A block of 256 has 28 words: the third bits of codes (bit p of byte i belongs to element i of
// run p), two lower bits, sixteen s of six bits (lower four in two words, upper two in one), the scale. See weights_q2_k.wgsl.

fn numbersAt(unit: u32) -> vec2<f32> {
  let block = unit / 16u * 28u;
  let part = unit % 16u;
  let lower = (byteAt(block + 24u, part % 8u) >> (part / 8u * 4u)) & 15u;
  let upper = (byteAt(block + 26u, part % 4u) >> (part / 4u * 2u)) & 3u;
  let scale = halfAt(block + 27u, 0u) * (f32(lower | (upper << 4u)) - 32.0);
  return vec2<f32>(scale, -4.0 * scale);
}

fn codesAt(four: u32) -> vec4<f32> {
  let block = four / 64u * 28u;
  let low = fields(block + 8u + four / 32u % 2u * 8u + four % 8u, four / 8u % 4u * 2u, 3u);
  let third = fields(block + four % 8u, four / 8u % 8u, 1u);
  return vec4<f32>(low | (third << vec4<u32>(2u)));
}
