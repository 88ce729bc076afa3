// Q4_0: scale * (code - 8). Two blocks of 32 lie together, 9 words: 64 codes of four bits, two scales. The lower halves of a
// block's 16 bytes are its first 16 codes.

fn weight4(index: u32) -> vec4<f32> {
  let block = index / 16u * 9u;
  let half = index % 16u / 8u;
  let four = index % 8u;
  let codes = codesAt(block + 4u * half + four % 4u, four / 4u * 4u, 15u);
  return unpack2x16float(weights[block + 8u])[half] * (vec4<f32>(codes) - 8.0);
}
