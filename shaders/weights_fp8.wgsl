// FP8: scale * a float with a sign, four bits of exponent (bias 7) and three of mantissa (E4M3). A block is 33 words: 128 codes, an f32.

fn numbersAt(unit: u32) -> vec2<f32> {
  return vec2<f32>(bitcast<f32>(weights[unit / 8u * 33u + 32u]), 0.0);
}

// An f32 of the same sign, exponent and mantissa. That of a number without the leading one (exponent 0) would be a subnormal f32, for
// which GPUs may put zero; so it gets the leading one, 2^-6, which is then taken off. The code for NaN is refused by the loader.
fn codesAt(four: u32) -> vec4<f32> {
  let codes = vec4<u32>(weights[four / 32u * 33u + four % 32u]) << vec4<u32>(24u, 16u, 8u, 0u);
  let size = (codes >> vec4<u32>(4u)) & vec4<u32>(0x07f00000u);
  let isSmall = size < vec4<u32>(0x00800000u);
  let bias = select(vec4<u32>(0x3c000000u), vec4<u32>(0x3c800000u), isSmall);
  let number = bitcast<vec4<f32>>(size + bias) - select(vec4<f32>(), vec4<f32>(0x1p-6), isSmall);
  return bitcast<vec4<f32>>(bitcast<vec4<u32>>(number) | (codes & vec4<u32>(0x80000000u)));
}
