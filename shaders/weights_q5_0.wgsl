// Q5_0: scale * (code - 16). Two blocks of 32 lie together, 11 words: four lower bits of 64 codes as in Q4_0, their fifth bits
// in two words, two scales.

fn weight4(index: u32) -> vec4<f32> {
  let block = index / 16u * 11u;
  let half = index % 16u / 8u;
  let four = index % 8u;
  let low = codesAt(block + 4u * half + four % 4u, four / 4u * 4u, 15u);
  let fifth = (vec4<u32>(weights[block + 8u + half]) >> (4u * four + vec4<u32>(0u, 1u, 2u, 3u))) & vec4<u32>(1u);
  return unpack2x16float(weights[block + 10u])[half] * (vec4<f32>(low | (fifth << vec4<u32>(4u))) - 16.0);
}
