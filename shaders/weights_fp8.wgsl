// FP8: scale * a float with a sign, four bits of exponent (bias 7) and three of mantissa (E4M3). A block is 33 words: 128 codes, an f32.

fn numbersAt(unit: u32) -> vec2<f32> {
  return vec2<f32>(bitcast<f32>(weights[unit / 8u * 33u + 32u]), 0.0);
}

// Four f32 of the same sign, exponent and mantissa. A number of exponent 0 has no leading one, 2^-6 * m / 8, and its bits would be a
// subnormal f32, for which GPUs may put zero. Read with a leading one it is 2^-7 * (1 + m / 8): twice that less 2^-6 is right, and the
// smaller of the two for exponent 0 alone. The code for NaN is refused by the loader.
fn codesAt(four: u32) -> vec4<f32> {
  let codes = vec4<u32>(weights[four / 32u * 33u + four % 32u]) << vec4<u32>(24u, 16u, 8u, 0u);
  let size = bitcast<vec4<f32>>(((codes >> vec4<u32>(4u)) & vec4<u32>(0x07f00000u)) + vec4<u32>(0x3c000000u));
  let number = min(size, size + size - vec4<f32>(0x1p-6));
  return bitcast<vec4<f32>>(bitcast<vec4<u32>>(number) | (codes & vec4<u32>(0x80000000u)));
}
