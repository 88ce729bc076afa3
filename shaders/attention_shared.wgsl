// What every attention kernel must agree on: parameters, where keys lie, which a query may see, and how a score is made.
//
// A row of the batch is one token: (sequence, position, slot, token). The keys and values of position j of sequence s lie
// in slot slotTable[s * slotStride + j]; sequences may share slots (a forked cache, a sweep over one base run). Without
// causality the last entry of a sequence's row is its length.

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
}

override CAUSAL: bool = true;
override HAS_SOFT_CAP: bool = false;
override HAS_ALIBI: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> rowTable: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> slotTable: array<u32>;
@group(1) @binding(2) var<storage, read> alibiSlopes: array<f32>;

fn firstVisible(position: u32) -> u32 {
  if (params.window == 0u || position < params.window) {
    return 0u;
  }
  return position + 1u - params.window;
}

fn lastVisible(sequence: u32, position: u32) -> u32 {
  if (CAUSAL) {
    return position;
  }
  let last = slotTable[(sequence + 1u) * params.slotStride - 1u] - 1u;
  if (params.window == 0u) {
    return last;
  }
  return min(last, position + params.window - 1u);
}

// The key-value head that a query head reads.
fn kvHeadOf(head: u32) -> u32 {
  return head / (params.nHeads / params.nKvHeads);
}

// Where the key and the value of a position lie, counted in heads.
fn kvIndex(sequence: u32, position: u32, kvHead: u32) -> u32 {
  return slotTable[sequence * params.slotStride + position] * params.nKvHeads + kvHead;
}

fn finishScore(product: f32, head: u32, position: u32, key: u32) -> f32 {
  var score = product * params.scale;
  if (HAS_SOFT_CAP) {
    score = params.softCap * tanh(clamp(score / params.softCap, -10.0, 10.0));
  }
  if (HAS_ALIBI) {
    // Counted from the query: the same under softmax as slope * key, and it stays small in long prompts.
    score += alibiSlopes[head] * (f32(key) - f32(position));
  }
  return score;
}
