// Attention of few rows over many keys on a GPU, first half: one workgroup a (row, head, split), so that decoding keeps a
// whole GPU busy (Flash-Decoding: Dao et al. 2023). Each takes a run of `splitKeys` keys and leaves its part unnormalized,
//   parts[row, head, split] = (sum of weights * values [dHead], largest score, total weight),
// for attention_join.wgsl. Scores are made by LANES invocations, a key each; then each owns output dimensions.
// Grid: x = rowCount * nHeads, y = splits, z = ceil(dHead / LANES / 4).

@group(1) @binding(3) var<storage, read> queries: array<vec4<f32>>;
@group(1) @binding(4) var<storage, read> keys: array<vec4<f32>>;
@group(1) @binding(5) var<storage, read> values: array<f32>;
@group(1) @binding(6) var<storage, read_write> parts: array<f32>;

const HIDDEN = -3.0e38;

var<workgroup> weights: array<f32, LANES>;
var<workgroup> starts: array<u32, LANES>; // of each key's values

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let head = group.x % params.nHeads;
  let row = group.x / params.nHeads;
  let sequence = rowTable[row].x;
  let position = rowTable[row].y;
  let kvHead = kvHeadOf(head);
  let dHead4 = params.dHead / 4u;
  let queryAt = (row * params.queryStride + head * params.dHead) / 4u;
  let first = firstVisible(position);
  let begin = first + group.y * params.splitKeys;
  let end = min(begin + params.splitKeys, lastVisible(sequence, position) + 1u);
  var largest = HIDDEN;
  var total = 0.0;
  var sums = vec4<f32>();
  let d = group.z * 4u * LANES + thread;
  for (var block = begin; block < end; block += LANES) {
    let key = block + thread;
    var score = HIDDEN;
    if (key < end) {
      let kv = kvIndex(sequence, key, kvHead);
      var product = 0.0;
      for (var i = 0u; i < dHead4; i++) {
        product += dot(queries[queryAt + i], keys[kv * dHead4 + i]);
      }
      score = finishScore(product, head, position, key);
      starts[thread] = kv * params.dHead;
    }
    let newLargest = max(largest, reduceMax(thread, score));
    let weight = select(0.0, exp(score - newLargest), key < end);
    weights[thread] = weight;
    let correction = exp(largest - newLargest);
    total = total * correction + reduceSum(thread, weight);
    largest = newLargest;
    sums *= correction;
    workgroupBarrier();
    for (var i = 0u; i < min(end - block, LANES); i++) {
      for (var part = 0u; part < 4u; part++) {
        if (d + part * LANES < params.dHead) {
          sums[part] = fma(weights[i], values[starts[i] + d + part * LANES], sums[part]);
        }
      }
    }
    workgroupBarrier();
  }
  let out = (group.x * grid.y + group.y) * (params.dHead + 2u);
  for (var part = 0u; part < 4u; part++) {
    if (d + part * LANES < params.dHead) {
      parts[out + d + part * LANES] = sums[part];
    }
  }
  if (thread == 0u && group.z == 0u) {
    parts[out + params.dHead] = largest;
    parts[out + params.dHead + 1u] = total;
  }
}
