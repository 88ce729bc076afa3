// Q5_0: scale * (code - 16). Two blocks of 32 lie together, 11 words: four lower bits of 64 codes as in Q4_0, their fifth bits
// in two words, two scales.

fn numbersAt(unit: u32) -> vec2<f32> {
  let scale = halfAt(unit / 4u * 11u + 10u, unit / 2u % 2u);
  return vec2<f32>(scale, -16.0 * scale);
}

fn codesAt(four: u32) -> vec4<f32> {
  let block = four / 16u * 11u;
  let half = four / 8u % 2u;
  let low = fields(block + 4u * half + four % 4u, four / 4u % 2u * 4u, 15u);
  let fifth = (vec4<u32>(weights[block + 8u + half]) >> (vec4<u32>(0u, 1u, 2u, 3u) + vec4<u32>(four % 8u * 4u))) & vec4<u32>(1u);
  return vec4<f32>(low | (fifth << vec4<u32>(4u)));
}
