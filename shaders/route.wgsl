// The experts of each row, and their weights (`RoutingSpec` in routing.ts). A workgroup a row: its scores lie in workgroup
// memory, and the greatest is found `chosen` times over. Of equal ones the first expert is taken. What is NaN is taken last.
//
// logits: [rowCount, experts]. out: indices, as f32, and weights, both [rowCount, chosen].
// Grid: one workgroup a row, folded into y. THREADS: 64, or 1 on CPUs, where a barrier costs more than the loops.

struct Params {
  rowCount: u32,
  experts: u32,
  chosen: u32,
  logitStart: u32,
  logitStride: u32,
  indexStart: u32,
  indexStride: u32,
  weightStart: u32,
  weightStride: u32,
  plus: f32,
  atLeast: f32,
  scale: f32,
  tolerance: f32,
  groups: u32,
  groupsChosen: u32,
}

// 0 softmax, 1 sigmoid, 2 sparsemixer.
override SCORES: u32 = 0u;
override HAS_BIAS: bool = false;
override GROUPED: bool = false;
// Groups are chosen by the sum of their two greatest, not by their greatest.
override TOP_TWO: bool = false;
override NORMALIZE: bool = false;
override THREADS: u32 = 64u;

// Four arrays of so many and three of THREADS stay under 16 KiB, which every adapter has.
const MOST = 896u;
const NONE = 0xffffffffu;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> logits: array<f32>;
@group(1) @binding(1) var<storage, read> bias: array<f32>;
@group(1) @binding(2) var<storage, read_write> out: array<f32>;

var<workgroup> scores: array<f32, MOST>;
// What experts are chosen by.
var<workgroup> choice: array<f32, MOST>;
// 1 while an expert may still be chosen.
var<workgroup> isOpen: array<u32, MOST>;
var<workgroup> groupScore: array<f32, MOST>;
var<workgroup> bestValue: array<f32, THREADS>;
var<workgroup> bestIndex: array<u32, THREADS>;
var<workgroup> sums: array<f32, THREADS>;

fn sigmoid(x: f32) -> f32 {
  let e = exp(-abs(x));
  return select(e, 1.0, x >= 0.0) / (1.0 + e);
}

// Whether b comes before a among what is chosen.
fn isBefore(b: u32, bValue: f32, a: u32, aValue: f32) -> bool {
  if (b == NONE) {
    return false;
  }
  if (a == NONE || bValue > aValue) {
    return true;
  }
  // Neither greater nor less nor equal: a is NaN, or b is.
  let isFirstNumber = aValue != aValue && bValue == bValue;
  return isFirstNumber || (bValue == aValue && b < a);
}

// The first of the greatest that are open, for every invocation.
fn greatest(thread: u32) -> u32 {
  var index = NONE;
  var value = 0.0;
  for (var e = thread; e < params.experts; e += THREADS) {
    if (isOpen[e] == 1u && isBefore(e, choice[e], index, value)) {
      index = e;
      value = choice[e];
    }
  }
  bestIndex[thread] = index;
  bestValue[thread] = value;
  workgroupBarrier();
  for (var half = THREADS / 2u; half > 0u; half /= 2u) {
    if (thread < half && isBefore(bestIndex[thread + half], bestValue[thread + half], bestIndex[thread], bestValue[thread])) {
      bestIndex[thread] = bestIndex[thread + half];
      bestValue[thread] = bestValue[thread + half];
    }
    workgroupBarrier();
  }
  let found = workgroupUniformLoad(&bestIndex[0]);
  return found;
}

fn sumOf(thread: u32, part: f32) -> f32 {
  sums[thread] = part;
  workgroupBarrier();
  for (var half = THREADS / 2u; half > 0u; half /= 2u) {
    if (thread < half) {
      sums[thread] += sums[thread + half];
    }
    workgroupBarrier();
  }
  let total = workgroupUniformLoad(&sums[0]);
  return total;
}

// exp(logit - greatest) over those that are open, sparsemixer: and near the greatest.
fn exponentials(thread: u32, largest: f32) -> f32 {
  var part = 0.0;
  for (var e = thread; e < params.experts; e += THREADS) {
    let value = choice[e];
    let isFar = SCORES == 2u && (largest - value) / max(abs(value), largest) > 2.0 * params.tolerance;
    if (isOpen[e] == 1u && !isFar) {
      part += exp(value - largest);
    }
  }
  return sumOf(thread, part);
}

// The two greatest of a group: their sum, or the first alone.
fn scoreOf(group: u32) -> f32 {
  let size = params.experts / params.groups;
  var first = choice[group * size];
  var second = -3.4e38;
  for (var e = group * size + 1u; e < (group + 1u) * size; e++) {
    let value = choice[e];
    second = max(second, min(first, value));
    first = max(first, value);
  }
  return select(first, first + second, TOP_TWO);
}

// What the experts of groups that are not chosen are chosen by becomes 0. One invocation does it: there are few groups.
fn closeGroups() {
  for (var group = 0u; group < params.groups; group++) {
    groupScore[group] = scoreOf(group);
  }
  let size = params.experts / params.groups;
  for (var group = 0u; group < params.groups; group++) {
    var before = 0u;
    for (var other = 0u; other < params.groups; other++) {
      before += select(0u, 1u, other != group && isBefore(other, groupScore[other], group, groupScore[group]));
    }
    for (var e = group * size; before >= params.groupsChosen && e < (group + 1u) * size; e++) {
      choice[e] = 0.0;
    }
  }
}

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = workgroup.y * grid.x + workgroup.x;
  if (row >= params.rowCount) {
    return;
  }
  let first = params.logitStart + row * params.logitStride;
  for (var e = thread; e < params.experts; e += THREADS) {
    scores[e] = logits[first + e];
    choice[e] = logits[first + e];
    isOpen[e] = 1u;
  }
  workgroupBarrier();
  if (SCORES == 0u) {
    let largest = scores[greatest(thread)];
    let total = exponentials(thread, largest);
    for (var e = thread; e < params.experts; e += THREADS) {
      scores[e] = exp(scores[e] - largest) / total;
    }
  }
  // Where scores rise with the logits and nothing is added, the logits choose: sigmoids of great ones are all 1.
  let byLogits = SCORES == 1u && !HAS_BIAS && !GROUPED;
  if (SCORES == 1u) {
    for (var e = thread; e < params.experts; e += THREADS) {
      scores[e] = sigmoid(scores[e]);
    }
  }
  if (SCORES != 2u && !byLogits) {
    // Before it is written anew, everybody has read what the softmax was made of.
    workgroupBarrier();
    for (var e = thread; e < params.experts; e += THREADS) {
      choice[e] = scores[e];
      if (HAS_BIAS) {
        choice[e] += bias[e];
      }
    }
    workgroupBarrier();
  }
  if (GROUPED) {
    if (thread == 0u) {
      closeGroups();
    }
    workgroupBarrier();
  }
  var sum = 0.0;
  for (var slot = 0u; slot < params.chosen; slot++) {
    let expert = greatest(thread);
    var weight = scores[expert];
    if (SCORES == 2u) {
      weight = 1.0 / exponentials(thread, choice[expert]);
    }
    sum += weight;
    if (thread == 0u) {
      isOpen[expert] = 0u;
      out[params.indexStart + row * params.indexStride + slot] = f32(expert);
      out[params.weightStart + row * params.weightStride + slot] = weight * params.scale;
    }
    workgroupBarrier();
  }
  if (NORMALIZE && thread == 0u) {
    let divisor = max(sum + params.plus, params.atLeast);
    for (var slot = 0u; slot < params.chosen; slot++) {
      let at = params.weightStart + row * params.weightStride + slot;
      out[at] = out[at] / divisor;
    }
  }
}
