// Q5_K: Q4_K with fifth bits. A block of 256 has 44 words: scale and least, eight s and m of six bits, fifth bits (bit p of byte
// i belongs to element i of sub-block p), four lower bits. See weights_q4_k.wgsl.

fn numbersAt(unit: u32) -> vec2<f32> {
  let block = unit / 16u * 44u;
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
  let block = four / 64u * 44u;
  let part = four / 8u % 8u;
  let low = fields(block + 12u + part / 2u * 8u + four % 8u, part % 2u * 4u, 15u);
  let fifth = fields(block + 4u + four % 8u, part, 1u);
  return vec4<f32>(low | (fifth << vec4<u32>(4u)));
}
