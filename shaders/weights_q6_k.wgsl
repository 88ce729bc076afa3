// Q6_K: scale * s * (code - 32). A block of 256 has 53 words: four lower bits of codes (32 words), two upper bits (16 words),
// sixteen s of eight bits with a sign, the scale. Of each half of the block, four runs of 32 share bytes.

fn weight4(index: u32) -> vec4<f32> {
  let block = index / 64u * 53u;
  let four = index % 64u;
  let half = four / 32u;
  let run = four / 8u % 4u;
  let low = codesAt(block + 16u * half + run % 2u * 8u + four % 8u, run / 2u * 4u, 15u);
  let high = codesAt(block + 32u + 8u * half + four % 8u, 2u * run, 3u);
  let s = signedBytes(weights[block + 48u + four / 16u])[four / 4u % 4u];
  let scale = unpack2x16float(weights[block + 52u]).x * s;
  return scale * (vec4<f32>(low | (high << vec4<u32>(4u))) - 32.0);
}
