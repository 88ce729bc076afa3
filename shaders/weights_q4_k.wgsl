// Q4_K: scale * s * code - least * m. A block of 256 has 36 words: scale and least, eight s and m of six bits in three words,
// codes of four bits. Of each run of 64 codes, eight words hold the first 32 in lower halves, the others in upper ones.

const SUPER_WORDS = 36u;

fn codesAt(four: u32) -> vec4<f32> {
  return vec4<f32>(fields(four / 64u * SUPER_WORDS + 4u + four / 16u % 4u * 8u + four % 8u, four / 8u % 2u * 4u, 15u));
}
