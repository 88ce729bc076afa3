// Q5_K: Q4_K with fifth bits. A block of 256 has 44 words: scale and least, eight s and m of six bits, fifth bits (bit p of byte
// i belongs to element i of sub-block p), four lower bits. See weights_q4_k.wgsl.

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
  let block = index / 64u * 44u;
  let four = index % 64u;
  let part = four / 8u;
  let numbers = scaleAndLeast(block, part);
  let low = codesAt(block + 12u + four / 16u * 8u + four % 8u, part % 2u * 4u, 15u);
  let fifth = codesAt(block + 4u + four % 8u, part, 1u);
  return numbers.x * vec4<f32>(low | (fifth << vec4<u32>(4u))) - numbers.y;
}
