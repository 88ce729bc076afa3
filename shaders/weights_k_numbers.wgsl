// Scale and least of the sub-blocks of Q4_K and Q5_K: six bits each, in the three words after both f16. A block has SUPER_WORDS words.

fn numbersAt(unit: u32) -> vec2<f32> {
  let block = unit / 16u * SUPER_WORDS;
  let part = unit / 2u % 8u;
  let four = part % 4u;
  let a = byteAt(block + 1u, four);
  let b = byteAt(block + 2u, four);
  let c = byteAt(block + 3u, four);
  let late = vec2<u32>((c & 15u) | ((a >> 6u) << 4u), (c >> 4u) | ((b >> 6u) << 4u));
  let numbers = vec2<f32>(select(late, vec2<u32>(a & 63u, b & 63u), part < 4u));
  return unpack2x16float(weights[block]) * numbers * vec2<f32>(1.0, -1.0);
}
