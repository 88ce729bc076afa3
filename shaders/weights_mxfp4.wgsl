// MXFP4: 2^(e - 127) * a float with a sign, two bits of exponent and one of mantissa. Four blocks of 32 lie together, 17 words:
// 128 codes as in Q4_0, four bytes e. A code stands for twice its value, which is whole.

fn numbersAt(unit: u32) -> vec2<f32> {
  let e = byteAt(unit / 8u * 17u + 16u, unit / 2u % 4u);
  return vec2<f32>(bitcast<f32>((max(e, 1u) - 1u) << 23u), 0.0);
}

fn codesAt(four: u32) -> vec4<f32> {
  let codes = fields(four / 32u * 17u + four / 8u % 4u * 4u + four % 4u, four / 4u % 2u * 4u, 15u);
  let exponent = (codes >> vec4<u32>(1u)) & vec4<u32>(3u);
  let mantissa = codes & vec4<u32>(1u);
  // 0, 1, 2, 3, 4, 6, 8, 12.
  let normal = ((mantissa | vec4<u32>(2u)) << max(exponent, vec4<u32>(1u))) >> vec4<u32>(1u);
  let size = vec4<f32>(select(normal, mantissa, exponent == vec4<u32>(0u)));
  return select(size, -size, codes >= vec4<u32>(8u));
}
