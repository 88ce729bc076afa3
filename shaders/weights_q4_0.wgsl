// Q4_0: scale * (code - 8). Two blocks of 32 lie together, 9 words: 64 codes of four bits, two scales. The lower halves of a
// block's 16 bytes are its first 16 codes.

fn numbersAt(unit: u32) -> vec2<f32> {
  let scale = halfAt(unit / 4u * 9u + 8u, unit / 2u % 2u);
  return vec2<f32>(scale, -8.0 * scale);
}

fn codesAt(four: u32) -> vec4<f32> {
  return vec4<f32>(fields(four / 16u * 9u + four / 8u % 2u * 4u + four % 4u, four / 4u % 2u * 4u, 15u));
}

// For kernels that walk blocks: see weights_q8_0.wgsl. Odd units are upper halves of bytes, sixteen times the code.
const BLOCK_WORDS = 9u;
const PLACE = vec4<f32>(1.0, 0x1p-8, 0x1p-16, 0x1p-24);

fn scaleIn(block: u32, unit: u32) -> f32 {
  let scales = unpack2x16float(weights[block + 8u]);
  return select(scales.x, scales.y, unit >= 2u) * select(1.0, 0.0625, (unit & 1u) == 1u);
}

fn inPlace(block: u32, unit: u32, four: u32) -> vec4<f32> {
  let isUpper = (unit & 1u) == 1u;
  let word = weights[block + 2u * (unit & 2u) + four];
  let halves = select(word & 0x0f0f0f0fu, (word & 0xf0f0f0f0u) ^ 0x80000000u, isUpper);
  return vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(halves) & vec4<u32>(0xffu, 0xff00u, 0xff0000u, 0xff000000u)));
}

fn offsetIn(unit: u32) -> vec4<f32> {
  return select(vec4<f32>(-8.0), vec4<f32>(-128.0, -128.0, -128.0, 0.0), (unit & 1u) == 1u);
}
