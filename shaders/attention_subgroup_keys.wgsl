// Attention of one (row, head) by a subgroup whose invocations share out the dimensions of the head: each keeps every
// LANES-th vec4 of the query and of the sum, reads the same of a key and its value, and the products are added up by
// subgroupAdd. STEP keys at a time, with a running softmax from one step to the next (Milakov and Gimelshein 2018, arXiv
// 1805.02867). For decoding on adapters that run on a CPU and have subgroups, where there are few rows.
//
// Milliseconds for eight rows of 12 heads of 64 and 135 keys, medians of 9 in one run (to compile):
//                  attention_keys.wgsl   this with 1, 2, 3, 4 keys a step
//   lavapipe                 1.36 (26)   1.29, 1.03, 0.99, 1.52 (10)
//   SwiftShader              7.93 (369)  4.38, 4.70, 5.56, 5.12 (57)
// One key an invocation, weights and queries by subgroupBroadcast, takes 2.02 and 6.13. Correcting the sums
// only where the largest score grows gains nothing.
// PER: vec4 of a head that an invocation keeps, of D4 in all. A workgroup is one subgroup.
// Grid: x, y = rowCount * nHeads folded.

enable subgroups;

@group(1) @binding(3) var<storage, read> queries: array<vec4<f32>>;
@group(1) @binding(4) var<storage, read> keys: array<vec4<f32>>;
@group(1) @binding(5) var<storage, read> values: array<vec4<f32>>;
@group(1) @binding(6) var<storage, read_write> z: array<vec4<f32>>;

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(subgroup_invocation_id) lane: u32,
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
  let queryAt = (row * params.queryStride + head * params.dHead) / 4u;

  // Past the head's end there is no query: zero meets the last vec4 of the key again, and nobody reads the sum.
  var piece: array<u32, PER>;
  var query: array<vec4<f32>, PER>;
  var sums: array<vec4<f32>, PER>;
  for (var p = 0u; p < PER; p++) {
    let d = p * LANES + lane;
    piece[p] = min(d, D4 - 1u);
    query[p] = select(vec4<f32>(), queries[queryAt + piece[p]], d < D4);
  }
  var largest = -3.0e38;
  var total = 0.0;
  let last = lastVisible(sequence, position);
  for (var first = firstVisible(position); first <= last; first += STEP) {
    // Past the last key a step meets that one again, and gives it no weight.
    var at: array<u32, STEP>;
    var scores: array<f32, STEP>;
    var newLargest = largest;
    for (var j = 0u; j < STEP; j++) {
      let key = min(first + j, last);
      at[j] = kvIndex(sequence, key, kvHead) * D4;
      var product = 0.0;
      for (var p = 0u; p < PER; p++) {
        product += dot(query[p], keys[at[j] + piece[p]]);
      }
      scores[j] = finishScore(subgroupAdd(product), head, position, key);
      newLargest = max(newLargest, scores[j]);
    }
    let correction = exp(largest - newLargest);
    largest = newLargest;
    total *= correction;
    for (var p = 0u; p < PER; p++) {
      sums[p] *= correction;
    }
    for (var j = 0u; j < STEP; j++) {
      let weight = select(0.0, exp(scores[j] - largest), first + j <= last);
      total += weight;
      for (var p = 0u; p < PER; p++) {
        sums[p] = fma(vec4<f32>(weight), values[at[j] + piece[p]], sums[p]);
      }
    }
  }
  let divisor = divisorOf(total, head, largest);
  for (var p = 0u; p < PER; p++) {
    if (p * LANES + lane < D4) {
      z[index * D4 + p * LANES + lane] = sums[p] / divisor;
    }
  }
}
