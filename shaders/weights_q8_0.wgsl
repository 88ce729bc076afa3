// Q8_0: scale * code. Two blocks of 32 lie together, 17 words: 64 codes of eight bits, two scales.

fn weight4(index: u32) -> vec4<f32> {
  let block = index / 16u * 17u;
  let four = index % 16u;
  return unpack2x16float(weights[block + 16u])[four / 8u] * signedBytes(weights[block + four]);
}
