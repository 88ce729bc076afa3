// The parameters of attention, which keys a query may see as far as positions tell, and how a score is made of q·k.

struct Params {
  rowCount: u32,
  nHeads: u32,
  nKvHeads: u32,
  dHead: u32,
  queryStride: u32, // elements from one row of queries to the next
  slotStride: u32,
  window: u32, // 0: unlimited; the length of a chunk where attention is chunked
  keyCount: u32, // width of a row of scores, for the kernels that write them out
  scale: f32,
  softCap: f32,
  splitKeys: u32, // keys a split, for attention_split
  gradStart: u32, // elements before a row of the gradient that is written, and from one to the next
  gradStride: u32,
}

override CAUSAL: bool = true;
// A query sees the keys of its chunk up to itself, in place of a window.
override CHUNKED: bool = false;
override HAS_SOFT_CAP: bool = false;
override HAS_ALIBI: bool = false;
// Above 0: what ALiBi adds is slope * key rounded to bfloat16, times this (falcon).
override ALIBI_SCALE: f32 = 0.0;
// Each head has a sink: a score beside those of its keys, of a key without a value.
override HAS_SINKS: bool = false;

@group(0) @binding(0) var<uniform> params: Params;

fn firstVisible(position: u32) -> u32 {
  if (params.window == 0u || position < params.window) {
    return 0u;
  }
  if (CHUNKED) {
    return position - position % params.window;
  }
  return position + 1u - params.window;
}

// The key-value head that a query head reads.
fn kvHeadOf(head: u32) -> u32 {
  return head / (params.nHeads / params.nKvHeads);
}

// Of q·k, before ALiBi.
fn cappedScore(product: f32) -> f32 {
  let score = product * params.scale;
  if (HAS_SOFT_CAP) {
    return params.softCap * tanh(clamp(score / params.softCap, -10.0, 10.0));
  }
  return score;
}

// The sum of exp(score - largest) with that of the sink. A sink so far above all scores that the sum overflows takes all but
// exp(-80) of the pattern.
fn withSink(total: f32, sink: f32, largest: f32) -> f32 {
  if (HAS_SINKS) {
    return total + exp(min(sink - largest, 80.0));
  }
  return total;
}

// The nearest number with the 16 upper bits of a float32, to even where two are as near.
fn inBfloat16(x: vec4<f32>) -> vec4<f32> {
  let bits = bitcast<vec4<u32>>(x);
  let half = vec4<u32>(0x7fffu) + ((bits >> vec4<u32>(16u)) & vec4<u32>(1u));
  return bitcast<vec4<f32>>((bits + half) & vec4<u32>(0xffff0000u));
}

// What ALiBi adds to scores. Counted from the query: the same under softmax as slope * key, and it stays small in long prompts;
// where it is rounded, only slope * key is the same.
fn alibiBias(slope: vec4<f32>, key: vec4<f32>, position: vec4<f32>) -> vec4<f32> {
  if (ALIBI_SCALE > 0.0) {
    return ALIBI_SCALE * inBfloat16(slope * key);
  }
  return slope * (key - position);
}
