// The parameters of attention, which keys a query may see as far as positions tell, and how a score is made of q·k.

struct Params {
  rowCount: u32,
  nHeads: u32,
  nKvHeads: u32,
  dHead: u32,
  queryStride: u32, // elements from one row of queries to the next
  slotStride: u32,
  window: u32, // 0: unlimited
  keyCount: u32, // width of a row of scores, for the kernels that write them out
  scale: f32,
  softCap: f32,
  splitKeys: u32, // keys a split, for attention_split
  gradStart: u32, // elements before a row of the gradient that is written, and from one to the next
  gradStride: u32,
}

override CAUSAL: bool = true;
override HAS_SOFT_CAP: bool = false;
override HAS_ALIBI: bool = false;
// Each head has a sink: a score beside those of its keys, of a key without a value.
override HAS_SINKS: bool = false;

@group(0) @binding(0) var<uniform> params: Params;

fn firstVisible(position: u32) -> u32 {
  if (params.window == 0u || position < params.window) {
    return 0u;
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
