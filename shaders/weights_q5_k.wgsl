// Q5_K: Q4_K with fifth bits. A block of 256 has 44 words: scale and least, eight s and m of six bits, fifth bits (bit p of byte
// i belongs to element i of sub-block p), four lower bits. See weights_q4_k.wgsl.

const SUPER_WORDS = 44u;

fn codesAt(four: u32) -> vec4<f32> {
  let block = four / 64u * SUPER_WORDS;
  let part = four / 8u % 8u;
  let low = fields(block + 12u + part / 2u * 8u + four % 8u, part % 2u * 4u, 15u);
  let fifth = fields(block + 4u + four % 8u, part, 1u);
  return vec4<f32>(low | (fifth << vec4<u32>(4u)));
}
