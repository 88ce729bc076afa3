// The normalizer of a log-softmax, in the two parts that keep their digits: for each row the largest logit, and
// log(sum(exp(logit - largest))). logits [rowCount, vocab], out [firstRow + rowCount, 2]; row r goes to firstRow + r.
// One workgroup of 64 a row, folded into y.

struct Params {
  rowCount: u32,
  firstRow: u32,
  vocab: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> logits: array<f32>;
@group(1) @binding(1) var<storage, read_write> out: array<vec2<f32>>;

@compute @workgroup_size(64)
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
  var mine = logits[start];
  for (var token = thread; token < params.vocab; token += 64u) {
    mine = max(mine, logits[start + token]);
  }
  let largest = reduceMax(thread, mine);
  var sum = 0.0;
  for (var token = thread; token < params.vocab; token += 64u) {
    sum += exp(logits[start + token] - largest);
  }
  let total = reduceSum(thread, sum);
  if (thread == 0u) {
    out[params.firstRow + row] = vec2<f32>(largest, log(total));
  }
}
