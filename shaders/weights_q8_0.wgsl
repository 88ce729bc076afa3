// Q8_0: scale * code. Two blocks of 32 lie together, 17 words: 64 codes of eight bits, two scales.

fn numbersAt(unit: u32) -> vec2<f32> {
  return vec2<f32>(halfAt(unit / 4u * 17u + 16u, unit / 2u % 2u), 0.0);
}

fn codesAt(four: u32) -> vec4<f32> {
  return signedBytes(weights[four / 16u * 17u + four % 16u]);
}

// For kernels that walk blocks: words of a block of 64, its four units of 16 weights, weight = scale * (code in place * PLACE + offset).
// Shifts and divisions cost a CPU several instructions a lane, so codes are masked where they lie and read as integers, the
// last with its sign, and PLACE is taken out of sums.
const BLOCK_WORDS = 17u;
const PLACE = vec4<f32>(1.0, 0x1p-8, 0x1p-16, 0x1p-24);

fn scaleIn(block: u32, unit: u32) -> f32 {
  let scales = unpack2x16float(weights[block + 16u]);
  return select(scales.x, scales.y, unit >= 2u);
}

fn inPlace(block: u32, unit: u32, four: u32) -> vec4<f32> {
  let word = weights[block + 4u * unit + four] ^ 0x808080u;
  return vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(word) & vec4<u32>(0xffu, 0xff00u, 0xff0000u, 0xff000000u)));
}

fn offsetIn(unit: u32) -> vec4<f32> {
  return vec4<f32>(-128.0, -128.0, -128.0, 0.0);
}
