// Draws each row's next token. Top-k, top-p and min-p all keep the tokens above some logit, so there is nothing to sort:
// each asks for a threshold, and the draw goes over the tokens above the highest of them.
//
// A threshold is "the largest value t such that what is >= t weighs at least so much", where a token weighs 1 (top-k) or
// its probability (top-p). It is found in eight sweeps over the row, one for each hexadecimal digit of the ordered key of
// the logit: a sweep weighs the sixteen digits among the keys that begin as already known, and the digit where the
// running weight reaches what is wanted is the next. Every invocation has bins of its own, so the sums need no atomics and
// come out the same each time.
//
// The draw inverts the cumulative distribution at uniforms[row], with the tokens in the order in which the invocations
// hold them: token t belongs to invocation t % 128.
//
// logits [rowCount, vocab] f32 (bound as bits), uniforms and tokens [firstRow + rowCount]; row r uses firstRow + r.
// One workgroup of 128 a row, folded into y.

struct Params {
  rowCount: u32,
  firstRow: u32,
  vocab: u32,
  // 0: off
  topK: u32,
  // 1 or more: off
  topP: f32,
  // 0: off
  minP: f32,
  temperature: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> logits: array<u32>;
@group(1) @binding(1) var<storage, read> uniforms: array<f32>;
@group(1) @binding(2) var<storage, read_write> tokens: array<u32>;

const THREADS = 128u;
const DIGITS = 16u;
// Invocations that add up one digit's bins together.
const HELPERS = THREADS / DIGITS;

var<workgroup> bins: array<f32, DIGITS * THREADS>;
var<workgroup> digitWeights: array<f32, DIGITS>;
var<workgroup> weights: array<f32, THREADS>;
var<workgroup> keys: array<u32, THREADS>;
var<workgroup> drawn: u32;
var<workgroup> drawnRest: f32;

// exp((logit - largest) / temperature): the probability up to a common factor.
fn mass(bits: u32, largest: f32) -> f32 {
  return exp((bitcast<f32>(bits) - largest) / params.temperature);
}

fn largestKey(thread: u32, start: u32) -> u32 {
  var key = 0u;
  for (var token = thread; token < params.vocab; token += THREADS) {
    key = max(key, orderedKey(logits[start + token]));
  }
  keys[thread] = key;
  workgroupBarrier();
  if (thread < HELPERS) {
    for (var i = thread + HELPERS; i < THREADS; i += HELPERS) {
      keys[thread] = max(keys[thread], keys[i]);
    }
  }
  workgroupBarrier();
  key = keys[0];
  for (var i = 1u; i < HELPERS; i++) {
    key = max(key, keys[i]);
  }
  return key;
}

// The float with this ordered key.
fn keyToFloat(key: u32) -> f32 {
  return bitcast<f32>(select(~key, key & 0x7fffffffu, (key & 0x80000000u) != 0u));
}

// Weighs the keys >= low that agree with `prefix` above the digit at `shift`, by that digit, into digitWeights.
fn weighDigits(thread: u32, start: u32, low: u32, prefix: u32, shift: u32, byMass: bool, largest: f32) {
  for (var digit = 0u; digit < DIGITS; digit++) {
    bins[digit * THREADS + thread] = 0.0;
  }
  for (var token = thread; token < params.vocab; token += THREADS) {
    let bits = logits[start + token];
    let key = orderedKey(bits);
    if (key >= low && ((key ^ prefix) >> shift) < DIGITS) {
      var weight = 1.0;
      if (byMass) {
        weight = mass(bits, largest);
      }
      bins[((key >> shift) % DIGITS) * THREADS + thread] += weight;
    }
  }
  workgroupBarrier();
  var sum = 0.0;
  for (var column = thread % HELPERS; column < THREADS; column += HELPERS) {
    sum += bins[(thread / HELPERS) * THREADS + column];
  }
  weights[thread] = sum;
  workgroupBarrier();
  if (thread < DIGITS) {
    var total = 0.0;
    for (var helper = 0u; helper < HELPERS; helper++) {
      total += weights[thread * HELPERS + helper];
    }
    digitWeights[thread] = total;
  }
  workgroupBarrier();
}

// The largest key t such that the keys >= t weigh at least `goal`: a number of tokens, or a share of the mass of all
// tokens with keys >= low.
fn threshold(thread: u32, start: u32, low: u32, goal: f32, byMass: bool, largest: f32) -> u32 {
  var prefix = 0u;
  var above = 0.0;
  var wanted = goal;
  for (var sweep = 0u; sweep < 8u; sweep++) {
    let shift = 28u - 4u * sweep;
    weighDigits(thread, start, low, prefix, shift, byMass, largest);
    if (byMass && sweep == 0u) {
      var total = 0.0;
      for (var digit = 0u; digit < DIGITS; digit++) {
        total += digitWeights[digit];
      }
      wanted = goal * total;
    }
    var digit = DIGITS - 1u;
    while (digit > 0u) {
      let weight = digitWeights[digit];
      if (weight > 0.0 && above + weight >= wanted) {
        break;
      }
      above += weight;
      digit--;
    }
    prefix |= digit << shift;
    workgroupBarrier();
  }
  return prefix;
}

// The lowest key that may be drawn by top-k and then top-p.
fn lowestKey(thread: u32, start: u32, largest: f32) -> u32 {
  var low = 0u;
  if (params.topK > 0u && params.topK < params.vocab) {
    low = threshold(thread, start, low, f32(params.topK), false, largest);
  }
  if (params.topP < 1.0) {
    low = max(low, threshold(thread, start, low, params.topP, true, largest));
  }
  return low;
}

// The token's mass when it may be drawn, else 0. The most probable token has mass 1 and always may.
fn drawableMass(bits: u32, low: u32, largest: f32) -> f32 {
  if (orderedKey(bits) < low) {
    return 0.0;
  }
  let m = mass(bits, largest);
  return select(0.0, m, m >= params.minP);
}

// Which invocation holds the drawn token, and how far into its mass the draw falls. Called by one invocation.
fn findHolder(uniform01: f32) {
  var total = 0.0;
  for (var i = 0u; i < THREADS; i++) {
    total += weights[i];
  }
  var rest = uniform01 * total;
  for (var i = 0u; i < THREADS; i++) {
    let weight = weights[i];
    if (weight > 0.0) {
      drawn = i;
      drawnRest = rest;
      if (rest < weight) {
        break;
      }
      rest -= weight;
    }
  }
}

fn draw(thread: u32, start: u32, row: u32, low: u32, largest: f32) {
  var sum = 0.0;
  for (var token = thread; token < params.vocab; token += THREADS) {
    sum += drawableMass(logits[start + token], low, largest);
  }
  weights[thread] = sum;
  workgroupBarrier();
  if (thread == 0u) {
    findHolder(uniforms[row]);
  }
  workgroupBarrier();
  if (thread != drawn) {
    return;
  }
  var rest = drawnRest;
  var chosen = 0u;
  for (var token = thread; token < params.vocab; token += THREADS) {
    let m = drawableMass(logits[start + token], low, largest);
    if (m > 0.0) {
      chosen = token;
      if (rest < m) {
        break;
      }
      rest -= m;
    }
  }
  tokens[row] = chosen;
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = group.y * grid.x + group.x;
  if (row >= params.rowCount) {
    return;
  }
  let start = row * params.vocab;
  let top = largestKey(thread, start);
  let largest = keyToFloat(top);
  // The sweeps run even when nothing finite is there: barriers must be met by all, and the result is discarded.
  let low = lowestKey(thread, start, largest);
  draw(thread, start, params.firstRow + row, low, largest);
  if (thread == drawn && !isFinite(top)) {
    tokens[params.firstRow + row] = NOT_A_TOKEN;
  }
}
