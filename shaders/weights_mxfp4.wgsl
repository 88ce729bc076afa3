// MXFP4: 2^(e - 127) * a float with a sign, two bits of exponent and one of mantissa. Four blocks of 32 lie together, 17 words:
// 128 codes as in Q4_0, four bytes e.

fn weight4(index: u32) -> vec4<f32> {
  let block = index / 32u * 17u;
  let part = index % 32u / 8u;
  let four = index % 8u;
  let codes = codesAt(block + 4u * part + four % 4u, four / 4u * 4u, 15u);
  let exponent = (codes >> vec4<u32>(1u)) & vec4<u32>(3u);
  let mantissa = codes & vec4<u32>(1u);
  // Twice the value: 0, 1, 2, 3, 4, 6, 8, 12.
  let normal = ((mantissa | vec4<u32>(2u)) << max(exponent, vec4<u32>(1u))) >> vec4<u32>(1u);
  let size = vec4<f32>(select(normal, mantissa, exponent == vec4<u32>(0u)));
  let sign = select(vec4<f32>(1.0), vec4<f32>(-1.0), codes >= vec4<u32>(8u));
  return bitcast<f32>((max(byteAt(block + 16u, part), 1u) - 1u) << 23u) * sign * size;
}
