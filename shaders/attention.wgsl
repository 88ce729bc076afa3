// Attention of one (row, head) in one pass over its keys with a running softmax (Milakov and Gimelshein 2018, arXiv
// 1805.02867; the idea of FlashAttention): scores exist for 256 keys at a time, [head, query, key] never does.
//
// Per block of 256 keys each of 64 invocations makes four scores; then each owns output dimensions thread, thread + 64, …
// and adds the block's values. queries: [row, head, dHead] with `queryStride`; z: [row, head, dHead].
// Grid: x, y = rowCount * nHeads folded; z = ceil(dHead / 256): wider heads repeat the scores for each slice of the output.

@group(1) @binding(3) var<storage, read> queries: array<f32>;
@group(1) @binding(4) var<storage, read> keys: array<vec4<f32>>;
@group(1) @binding(5) var<storage, read> values: array<f32>;
@group(1) @binding(6) var<storage, read_write> z: array<f32>;

const BLOCK = 256u;
const MAX_D_HEAD4 = 256u; // dHead up to 1024

var<workgroup> query: array<vec4<f32>, MAX_D_HEAD4>;
var<workgroup> weights: array<f32, BLOCK>;
var<workgroup> starts: array<u32, BLOCK>; // of each key's values

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = group.y * grid.x + group.x;
  if (index >= params.rowCount * params.nHeads) {
    return;
  }
  let head = index % params.nHeads;
  let row = index / params.nHeads;
  let sequence = rowTable[row].x;
  let position = rowTable[row].y;
  let kvHead = kvHeadOf(head);
  let dHead4 = params.dHead / 4u;
  for (var d = thread; d < dHead4; d += 64u) {
    let at = row * params.queryStride + head * params.dHead + d * 4u;
    query[d] = vec4<f32>(queries[at], queries[at + 1u], queries[at + 2u], queries[at + 3u]);
  }
  workgroupBarrier();

  let slice = group.z * 256u + thread;
  var largest = -3.0e38;
  var total = 0.0;
  var sums = vec4<f32>();
  let firstKey = firstVisible(position);
  let keyTotal = lastVisible(sequence, position) + 1u - firstKey;
  for (var block = 0u; block < keyTotal; block += BLOCK) {
    let here = min(BLOCK, keyTotal - block);
    var blockMax = -3.0e38;
    for (var i = thread; i < here; i += 64u) {
      let key = firstKey + block + i;
      let kv = kvIndex(sequence, key, kvHead);
      let at = kv * dHead4;
      var product = 0.0;
      for (var d = 0u; d < dHead4; d++) {
        product += dot(query[d], keys[at + d]);
      }
      let score = finishScore(product, head, position, key);
      weights[i] = score;
      starts[i] = kv * params.dHead;
      blockMax = max(blockMax, score);
    }
    let newLargest = max(largest, reduceMax(thread, blockMax));
    var blockSum = 0.0;
    for (var i = thread; i < here; i += 64u) {
      let weight = exp(weights[i] - newLargest);
      weights[i] = weight;
      blockSum += weight;
    }
    let correction = exp(largest - newLargest);
    total = total * correction + reduceSum(thread, blockSum);
    largest = newLargest;
    sums *= correction;
    for (var i = 0u; i < here; i++) {
      let weight = weights[i];
      let at = starts[i] + slice;
      for (var part = 0u; part < 4u; part++) {
        if (slice + part * 64u < params.dHead) {
          sums[part] = fma(weight, values[at + part * 64u], sums[part]);
        }
      }
    }
    workgroupBarrier();
  }
  let divisor = divisorOf(total, head, largest);
  let base = index * params.dHead + slice;
  for (var part = 0u; part < 4u; part++) {
    if (slice + part * 64u < params.dHead) {
      z[base + part * 64u] = sums[part] / divisor;
    }
  }
}
