// Q4_1: scale * code + least. A block of 32 has 5 words: scale and least, 32 codes of four bits. See weights_q4_0.wgsl.

fn weight4(index: u32) -> vec4<f32> {
  let block = index / 8u * 5u;
  let four = index % 8u;
  let numbers = unpack2x16float(weights[block]);
  return numbers.x * vec4<f32>(codesAt(block + 1u + four % 4u, four / 4u * 4u, 15u)) + numbers.y;
}
