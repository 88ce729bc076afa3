// What the three kernels of attention's gradient share. None of them writes scores or pattern (FlashAttention: Dao et al. 2022,
// arXiv 2205.14135): `attention_statistics` keeps four numbers a query and head, from which the other two, one by queries and
// one by keys, compute the pattern again.
//
// A workgroup takes ROWS rows of one sequence and one head, and walks what they meet in tiles of TILE vectors in workgroup
// memory. SHARE neighbouring invocations hold one row together: invocation i of them takes four vectors of the tile at a
// time from 4 i on, and then sums the vec4 i, i + SHARE, … of the result. Every sum has one order, so runs agree to the bit.
// D4: vec4 of a head. Loops over a head stay loops: see attention_rows.wgsl.

const THREADS = ROWS * SHARE;
const OWN4 = (D4 + SHARE - 1u) / SHARE;

// Of a query and a key that it sees: (pattern, the gradient of q·k).
// `statistics`: (log of the sum of exp(score), sum of pattern * dPattern, ALiBi slope, position) of the query.
fn weightsOf(product: f32, dPattern: f32, statistics: vec4<f32>, key: u32) -> vec2<f32> {
  let capped = cappedScore(product);
  let pattern = exp(capped + statistics.z * (f32(key) - statistics.w) - statistics.x);
  var dScore = params.scale * pattern * (dPattern - statistics.y);
  if (HAS_SOFT_CAP) {
    let part = capped / params.softCap;
    dScore *= 1.0 - part * part;
  }
  return vec2<f32>(pattern, dScore);
}
