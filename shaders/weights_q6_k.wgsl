// Q6_K: scale * s * (code - 32). A block of 256 has 53 words: four lower bits of codes (32 words), two upper bits (16 words),
// sixteen s of eight bits with a sign, the scale. Of each half of the block, four runs of 32 share bytes.

fn numbersAt(unit: u32) -> vec2<f32> {
  let block = unit / 16u * 53u;
  let part = unit % 16u;
  let s = bitcast<i32>(byteAt(block + 48u, part) << 24u) >> 24u;
  let scale = halfAt(block + 52u, 0u) * f32(s);
  return vec2<f32>(scale, -32.0 * scale);
}

fn codesAt(four: u32) -> vec4<f32> {
  let block = four / 64u * 53u;
  let half = four / 32u % 2u;
  let run = four / 8u % 4u;
  let low = fields(block + 16u * half + run % 2u * 8u + four % 8u, run / 2u * 4u, 15u);
  let high = fields(block + 32u + 8u * half + four % 8u, 2u * run, 3u);
  return vec4<f32>(low | (high << vec4<u32>(4u)));
}
