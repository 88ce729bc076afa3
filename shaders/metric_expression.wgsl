// A metric of the user's own: value = the sum of term(token), out = gradient(token), for the listed rows of logits.
//
// The gradient is compared with finite differences of the value. The logits move along a direction d, by steps -1, -1/2, 1/2
// and 1 times STEP. checks[row] are 8 numbers, which the host judges (src/hooks/expression-metric.ts):
//   0 slope           sum of gradient d
//   1 difference      sum of (term(1) - term(-1)) / (2 STEP)
//   2 halfDifference  the same of half the step
//   3 change          sum of |term(1) - term(-1)| / (2 STEP)
//   4 rounding        sum of |gradient| (1e-3 |d| + EPSILON |logit| / STEP): of sums, and of the moved logits
//   5 bend            sum of |term(1) - 2 term(0) + term(-1)| / STEP: curvature, corners of the terms, and their rounding
//   6 noise           sum of |term with logP + NOISE - term| / STEP: what rounding of the softmax's normalizer does
//   7 notFinite       how many gradients are NaN or infinite
// One workgroup a row, folded into y.

struct Params {
  rowCount: u32,
  vocab: u32,
  logitsStart: u32,
  weightsStart: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> logits: array<f32>;
@group(1) @binding(1) var<storage, read> rows: array<u32>;
@group(1) @binding(2) var<storage, read> weights: array<f32>;
@group(1) @binding(3) var<storage, read_write> values: array<f32>;
@group(1) @binding(4) var<storage, read_write> checks: array<f32>;
@group(1) @binding(5) var<storage, read_write> out: array<f32>;

override WEIGHTED: u32 = 0u;

// Small enough for curvature, large enough for float32: a normalizer is right to some 1e-6.
const STEP = 0.0078125;
const NOISE = 1e-5;
const EPSILON = 1.2e-7;

fn numberAt(source: u32, index: u32) -> f32 {
  return logits[index];
}

// With the gradient's sign, so that its parts do not cancel and a wrong factor shows; of either sign where it is 0. The size is a
// hash of the token between 0.5 and 1.5, so that the parts of an error do not cancel either.
fn direction(token: u32, slope: f32) -> f32 {
  var bits = token * 0x9E3779B9u;
  bits = (bits ^ (bits >> 16u)) * 0x85EBCA6Bu;
  bits = (bits ^ (bits >> 13u)) * 0xC2B2AE35u;
  bits ^= bits >> 16u;
  let size = 0.5 + f32(bits >> 9u) / 8388608.0;
  return select(select(-size, size, slope > 0.0), select(-size, size, (bits & 1u) == 1u), slope == 0.0);
}

fn weightOf(token: u32) -> f32 {
  if (WEIGHTED == 0u) {
    return 0.0;
  }
  return weights[params.weightsStart + token];
}

fn termOf(logit: f32, token: u32, normalizer: vec2<f32>) -> f32 {
  let logP = (logit - normalizer.x) - normalizer.y;
  return term(logit, exp(logP), logP, token, weightOf(token));
}

// No constant: wgpu compiles none of a vector type beside an override constant.
fn steps() -> vec4<f32> {
  return STEP * vec4<f32>(-1.0, -0.5, 0.5, 1.0);
}

// By its bits: compilers may take comparisons for those of finite numbers.
fn isFinite(number: f32) -> bool {
  return (bitcast<u32>(number) & 0x7F800000u) != 0x7F800000u;
}

// log(sum(exp(moved logit - largest))) of the four steps.
fn movedNormalizers(base: u32, outBase: u32, largest: f32, thread: u32) -> vec4<f32> {
  var sums = vec4<f32>(0.0);
  for (var token = thread; token < params.vocab; token += THREADS) {
    sums += exp(logits[base + token] + steps() * direction(token, out[outBase + token]) - largest);
  }
  return log(vec4<f32>(
    reduceSum(thread, sums.x), reduceSum(thread, sums.y), reduceSum(thread, sums.z), reduceSum(thread, sums.w)));
}

@compute @workgroup_size(THREADS)
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
  let base = params.logitsStart + row * params.vocab;
  let parts = normalizer(0u, base, params.vocab, thread);
  var sum = 0.0;
  for (var token = thread; token < params.vocab; token += THREADS) {
    sum += termOf(logits[base + token], token, parts);
  }
  let value = reduceSum(thread, sum);
  let outBase = row * params.vocab;
  for (var token = thread; token < params.vocab; token += THREADS) {
    let logit = logits[base + token];
    let logP = (logit - parts.x) - parts.y;
    out[outBase + token] = gradient(logit, exp(logP), logP, token, weightOf(token), value);
  }
  // An invocation reads what it wrote itself.
  let moved = movedNormalizers(base, outBase, parts.x, thread);
  let offsets = steps();
  var slopes = vec4<f32>(0.0);
  var limits = vec4<f32>(0.0);
  for (var token = thread; token < params.vocab; token += THREADS) {
    let logit = logits[base + token];
    let slope = out[outBase + token];
    let d = direction(token, slope);
    let still = termOf(logit, token, parts);
    var terms: vec4<f32>;
    for (var i = 0u; i < 4u; i++) {
      terms[i] = termOf(logit + offsets[i] * d, token, vec2<f32>(parts.x, moved[i]));
    }
    let difference = (terms.w - terms.x) / (2.0 * STEP);
    slopes += vec4<f32>(slope * d, difference, (terms.z - terms.y) / STEP, abs(difference));
    limits += vec4<f32>(
      abs(slope) * (1e-3 * abs(d) + EPSILON * abs(logit) / STEP),
      abs((terms.w - still) - (still - terms.x)) / STEP,
      abs(termOf(logit, token, parts - vec2<f32>(0.0, NOISE)) - still) / STEP,
      select(1.0, 0.0, isFinite(slope)));
  }
  for (var i = 0u; i < 4u; i++) {
    let slopeSum = reduceSum(thread, slopes[i]);
    let limitSum = reduceSum(thread, limits[i]);
    if (thread == 0u) {
      checks[row * 8u + i] = slopeSum;
      checks[row * 8u + 4u + i] = limitSum;
    }
  }
  if (thread == 0u) {
    values[row] = value;
  }
}
