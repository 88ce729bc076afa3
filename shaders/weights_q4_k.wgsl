// Q4_K: scale * s * code - least * m. A block of 256 has 36 words: scale and least, eight s and m of six bits in three words,
// codes of four bits. Of each run of 64 codes, eight words hold the first 32 in lower halves, the others in upper ones.

fn numbersAt(unit: u32) -> vec2<f32> {
  let block = unit / 16u * 36u;
  let part = unit / 2u % 8u;
  let four = part % 4u;
  let a = byteAt(block + 1u, four);
  let b = byteAt(block + 2u, four);
  let c = byteAt(block + 3u, four);
  let late = vec2<u32>((c & 15u) | ((a >> 6u) << 4u), (c >> 4u) | ((b >> 6u) << 4u));
  let numbers = vec2<f32>(select(late, vec2<u32>(a & 63u, b & 63u), part < 4u));
  return unpack2x16float(weights[block]) * numbers * vec2<f32>(1.0, -1.0);
}

fn codesAt(four: u32) -> vec4<f32> {
  return vec4<f32>(fields(four / 64u * 36u + 4u + four / 16u % 4u * 8u + four % 8u, four / 8u % 2u * 4u, 15u));
}
