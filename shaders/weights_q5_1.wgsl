// Q5_1: scale * code + least. A block of 32 has 6 words: scale and least, fifth bits, four lower bits. See weights_q5_0.wgsl.

fn weight4(index: u32) -> vec4<f32> {
  let block = index / 8u * 6u;
  let four = index % 8u;
  let numbers = unpack2x16float(weights[block]);
  let low = codesAt(block + 2u + four % 4u, four / 4u * 4u, 15u);
  let fifth = (vec4<u32>(weights[block + 1u]) >> (4u * four + vec4<u32>(0u, 1u, 2u, 3u))) & vec4<u32>(1u);
  return numbers.x * vec4<f32>(low | (fifth << vec4<u32>(4u))) + numbers.y;
}
