// One number (or a few) from each row of logits, for sweeps: only these are read back.
//
// Modes: 0 logits of the listed tokens; 1 difference of the first two tokens' logits; 2 log probability and 3 probability of
// the first token; 4 rank of the first token (0: the most likely; tokens with an equal logit do not count); 5 KL divergence
// sum_t p(t) (log p(t) - log q(t)) of the row's distribution q from the reference p, given as logits [vocab]; 6 the sum of the
// row times the reference, of logits or of any other vectors [vocab]. 7, an expression, has metric_sum.wgsl.
// rows [rowCount, (row of the logits, row of the outputs)]; outputs[output row * outStride + outStart + i]. logits [rows, vocab];
// the reference begins at referenceStart. One workgroup of 64 a row, folded into y.

struct Params {
  rowCount: u32,
  vocab: u32,
  mode: u32,
  tokenCount: u32,
  outStart: u32,
  outStride: u32,
  referenceStart: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> logits: array<f32>;
@group(1) @binding(1) var<storage, read> tokens: array<u32>;
@group(1) @binding(2) var<storage, read> reference: array<f32>;
@group(1) @binding(3) var<storage, read> rows: array<vec2<u32>>;
@group(1) @binding(4) var<storage, read_write> outputs: array<f32>;

fn rank(base: u32, thread: u32) -> f32 {
  let own = logits[base + tokens[0]];
  var above = 0.0;
  for (var token = thread; token < params.vocab; token += 64u) {
    above += select(0.0, 1.0, logits[base + token] > own);
  }
  return reduceSum(thread, above);
}

fn divergence(base: u32, thread: u32) -> f32 {
  let total = logSumExp(LOGITS, base, thread);
  let referenceTotal = logSumExp(REFERENCE, params.referenceStart, thread);
  var sum = 0.0;
  for (var token = thread; token < params.vocab; token += 64u) {
    let p = reference[params.referenceStart + token] - referenceTotal;
    let weight = exp(p);
    if (weight > 0.0) { // 0 log 0 is 0
      sum += weight * (p - (logits[base + token] - total));
    }
  }
  return reduceSum(thread, sum);
}

fn product(base: u32, thread: u32) -> f32 {
  var sum = 0.0;
  for (var i = thread; i < params.vocab; i += 64u) {
    sum = fma(logits[base + i], reference[params.referenceStart + i], sum);
  }
  return reduceSum(thread, sum);
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = group.y * grid.x + group.x;
  if (index >= params.rowCount) {
    return;
  }
  let row = rows[index];
  let base = row.x * params.vocab;
  let at = row.y * params.outStride + params.outStart;
  if (params.mode == 0u) {
    for (var i = thread; i < params.tokenCount; i += 64u) {
      outputs[at + i] = logits[base + tokens[i]];
    }
    return;
  }
  var value = 0.0;
  if (params.mode == 1u) {
    value = logits[base + tokens[0]] - logits[base + tokens[1]];
  } else if (params.mode == 4u) {
    value = rank(base, thread);
  } else if (params.mode == 5u) {
    value = divergence(base, thread);
  } else if (params.mode == 6u) {
    value = product(base, thread);
  } else {
    value = logits[base + tokens[0]] - logSumExp(LOGITS, base, thread);
    if (params.mode == 3u) {
      value = exp(value);
    }
  }
  if (thread == 0u) {
    outputs[at] = value;
  }
}
