// A metric of the user's own as sweeps measure it: outputs = the sum of term(token) over each listed row of logits.
//
// rows [rowCount, (row of the logits, row of the outputs)]; outputs[output row * outStride + outStart]. One workgroup a row,
// folded into y. metric_expressions.wgsl has the term.

struct Params {
  rowCount: u32,
  vocab: u32,
  weightsStart: u32,
  outStart: u32,
  outStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> logits: array<f32>;
@group(1) @binding(1) var<storage, read> rows: array<vec2<u32>>;
@group(1) @binding(2) var<storage, read> weights: array<f32>;
@group(1) @binding(3) var<storage, read_write> outputs: array<f32>;

override WEIGHTED: u32 = 0u;

fn numberAt(source: u32, index: u32) -> f32 {
  return logits[index];
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
  let base = row.x * params.vocab;
  let parts = normalizer(0u, base, params.vocab, thread);
  var sum = 0.0;
  for (var token = thread; token < params.vocab; token += THREADS) {
    let logit = logits[base + token];
    let logP = (logit - parts.x) - parts.y;
    var w = 0.0;
    if (WEIGHTED == 1u) {
      w = weights[params.weightsStart + token];
    }
    sum += term(logit, exp(logP), logP, token, w);
  }
  let value = reduceSum(thread, sum);
  if (thread == 0u) {
    outputs[row.y * params.outStride + params.outStart] = value;
  }
}
