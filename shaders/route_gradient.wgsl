// The gradient of a router's logits, given that of the weights of the experts that it chose. The choice is constant.
//
// With scores s, the chosen i_j, r_j = s[i_j], the divisor D = max(sum r + plus, atLeast) and weights w_j = scale r_j / D:
//   dr_j = scale (dw_j - [D grows with r] (sum_l dw_l r_l) / D) / D;  without a divisor scale dw_j
//   softmax: dl_e = s_e ([e = i_j] dr_j - sum_j dr_j r_j);  sigmoid: dl_e = [e = i_j] dr_j s_e (1 - s_e)
// and for sparsemixer the softmax's formula for each of the two, over the experts that its softmax is of.
//
// logits, out: [rowCount, experts]; indices, dWeights: [rowCount, chosen]. Grid: an invocation a row, folded into y.

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
}

override SCORES: u32 = 0u;
override NORMALIZE: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> logits: array<f32>;
@group(1) @binding(1) var<storage, read> indices: array<f32>;
@group(1) @binding(2) var<storage, read> dWeights: array<f32>;
@group(1) @binding(3) var<storage, read_write> out: array<f32>;

fn sigmoid(x: f32) -> f32 {
  let e = exp(-abs(x));
  return select(e, 1.0, x >= 0.0) / (1.0 + e);
}

fn logit(row: u32, expert: u32) -> f32 {
  return logits[params.logitStart + row * params.logitStride + expert];
}

fn expertOf(row: u32, slot: u32) -> u32 {
  return min(u32(indices[params.indexStart + row * params.indexStride + slot] + 0.5), params.experts - 1u);
}

fn dWeight(row: u32, slot: u32) -> f32 {
  return dWeights[params.weightStart + row * params.weightStride + slot];
}

// Whether an expert is in the softmax of a slot of sparsemixer.
fn isIn(row: u32, slot: u32, expert: u32) -> bool {
  let largest = logit(row, expertOf(row, slot));
  let value = logit(row, expert);
  let isFar = (largest - value) / max(abs(value), largest) > 2.0 * params.tolerance;
  return !isFar && (slot == 0u || expert != expertOf(row, 0u));
}

fn sparsemixer(row: u32) {
  for (var slot = 0u; slot < params.chosen; slot++) {
    let expert = expertOf(row, slot);
    let largest = logit(row, expert);
    var total = 0.0;
    for (var e = 0u; e < params.experts; e++) {
      if (isIn(row, slot, e)) {
        total += exp(logit(row, e) - largest);
      }
    }
    let factor = params.scale * dWeight(row, slot) / total;
    for (var e = 0u; e < params.experts; e++) {
      if (isIn(row, slot, e)) {
        let share = exp(logit(row, e) - largest) / total;
        out[row * params.experts + e] += factor * (select(0.0, 1.0, e == expert) - share);
      }
    }
  }
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let row = id.y * grid.x * 64u + id.x;
  if (row >= params.rowCount) {
    return;
  }
  for (var e = 0u; e < params.experts; e++) {
    out[row * params.experts + e] = 0.0;
  }
  if (SCORES == 2u) {
    sparsemixer(row);
    return;
  }
  var largest = logit(row, 0u);
  var total = 0.0;
  if (SCORES == 0u) {
    for (var e = 1u; e < params.experts; e++) {
      largest = max(largest, logit(row, e));
    }
    for (var e = 0u; e < params.experts; e++) {
      total += exp(logit(row, e) - largest);
    }
  }
  var sum = 0.0;
  var weighed = 0.0;
  for (var slot = 0u; slot < params.chosen; slot++) {
    let value = logit(row, expertOf(row, slot));
    var score = sigmoid(value);
    if (SCORES == 0u) {
      score = exp(value - largest) / total;
    }
    sum += score;
    weighed += score * dWeight(row, slot);
  }
  let divisor = select(1.0, max(sum + params.plus, params.atLeast), NORMALIZE);
  let part = select(0.0, weighed / divisor, NORMALIZE && sum + params.plus > params.atLeast);
  var mean = 0.0;
  for (var slot = 0u; slot < params.chosen; slot++) {
    let expert = expertOf(row, slot);
    let dScore = params.scale * (dWeight(row, slot) - part) / divisor;
    let value = logit(row, expert);
    if (SCORES == 0u) {
      let score = exp(value - largest) / total;
      mean += dScore * score;
      out[row * params.experts + expert] += dScore * score;
    } else {
      out[row * params.experts + expert] += dScore * sigmoid(value) * sigmoid(-value);
    }
  }
  if (SCORES == 0u) {
    for (var e = 0u; e < params.experts; e++) {
      out[row * params.experts + e] -= mean * exp(logit(row, e) - largest) / total;
    }
  }
}
