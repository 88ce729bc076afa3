// Q4_K: scale * s * code - least * m. A block of 256 has 36 words: scale and least, eight s and m of six bits in three words,
// codes of four bits. Of each run of 64 codes, eight words hold the first 32 in lower halves, the others in upper ones.

// Of the eight sub-blocks of 32: scale and least, six bits each in words 1 to 3.
fn scaleAndLeast(block: u32, part: u32) -> vec2<f32> {
  let four = part % 4u;
  let a = byteAt(block + 1u, four);
  let b = byteAt(block + 2u, four);
  let c = byteAt(block + 3u, four);
  let late = vec2<u32>((c & 15u) | ((a >> 6u) << 4u), (c >> 4u) | ((b >> 6u) << 4u));
  let numbers = select(late, vec2<u32>(a & 63u, b & 63u), part < 4u);
  return unpack2x16float(weights[block]) * vec2<f32>(numbers);
}

fn weight4(index: u32) -> vec4<f32> {
  let block = index / 64u * 36u;
  let four = index % 64u;
  let numbers = scaleAndLeast(block, four / 8u);
  let codes = codesAt(block + 4u + four / 16u * 8u + four % 8u, four / 8u % 2u * 4u, 15u);
  return numbers.x * vec4<f32>(codes) - numbers.y;
}
