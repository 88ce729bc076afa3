// A metric of each row of logits, and its gradient: where a backward pass begins.
//
// entries: for each row (token, other, weight as f32 bits, mode). With p = softmax(logits), value and gradient of logit t are
//   0 logit          l[token]                          [t = token]
//   1 difference     l[token] - l[other]               [t = token] - [t = other]
//   2 log prob       log p[token]                      [t = token] - p[t]
//   3 prob           p[token]                          p[token] ([t = token] - p[t])
//   4 KL             sum of r (log r - log p)          p[t] - r[t]            r = softmax(reference[other])
//   5 weighted       sum of reference[other] l         reference[other, t]
//   6 an expression: nothing here, metric_expression.wgsl writes both
// each times weight. values [rows], logits and out [rows, vocab]. One workgroup a row, folded into y.

struct Params {
  rowCount: u32,
  vocab: u32,
  logitsStart: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> logits: array<f32>;
@group(1) @binding(1) var<storage, read> entries: array<vec4<u32>>;
@group(1) @binding(2) var<storage, read> reference: array<f32>;
@group(1) @binding(3) var<storage, read_write> values: array<f32>;
@group(1) @binding(4) var<storage, read_write> out: array<f32>;

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
  let entry = entries[row];
  let weight = bitcast<f32>(entry.z);
  let mode = entry.w;
  if (mode == 6u) {
    return;
  }
  let base = params.logitsStart + row * params.vocab;
  let referenceBase = entry.y * params.vocab;
  var total = 0.0;
  if (mode == 2u || mode == 3u || mode == 4u) {
    total = logSumExp(LOGITS, base, thread);
  }
  var referenceTotal = 0.0;
  if (mode == 4u) {
    referenceTotal = logSumExp(REFERENCE, referenceBase, thread);
  }
  let own = logits[base + entry.x];
  let prob = exp(own - total);
  var sum = 0.0;
  for (var token = thread; token < params.vocab; token += THREADS) {
    let logit = logits[base + token];
    let isOwn = select(0.0, 1.0, token == entry.x);
    var gradient = isOwn;
    switch mode {
      case 1u: { gradient -= select(0.0, 1.0, token == entry.y); }
      case 2u: { gradient -= exp(logit - total); }
      case 3u: { gradient = prob * (gradient - exp(logit - total)); }
      case 4u: {
        let logR = reference[referenceBase + token] - referenceTotal;
        let r = exp(logR);
        gradient = exp(logit - total) - r;
        if (r > 0.0) { // 0 log 0 is 0
          sum += r * (logR - (logit - total));
        }
      }
      case 5u: {
        gradient = reference[referenceBase + token];
        sum = fma(gradient, logit, sum);
      }
      default: {}
    }
    out[row * params.vocab + token] = weight * gradient;
  }
  var value = own;
  if (mode == 1u) {
    value -= logits[base + entry.y];
  } else if (mode == 2u) {
    value -= total;
  } else if (mode == 3u) {
    value = prob;
  } else if (mode >= 4u) {
    value = reduceSum(thread, sum);
  }
  if (thread == 0u) {
    values[row] = weight * value;
  }
}
