// Attention of one (row, head), split over its keys: each of LANES invocations takes every LANES-th key, STEP of them at a
// time, with a running softmax of its own, and the parts are joined through workgroup memory. For decoding on adapters that
// run on a CPU and have no subgroups (see attention_subgroup_keys.wgsl), where there are few rows.
//
// Milliseconds for eight rows of 12 heads of 64 and 135 keys with 1, 2, 3, 4, 8 keys at a time, medians of 9 in one run:
//   lavapipe, wgpu      1.29, 1.13, 0.98, 0.97, 1.12
//   SwiftShader, wgpu   7.18, 5.61, 4.90, 4.74, 4.94
//
// D4: vec4 of a head. Grid: x, y = rowCount * nHeads folded. Workgroup memory: 4 LANES (4 D4 + 2) bytes.

@group(1) @binding(3) var<storage, read> queries: array<vec4<f32>>;
@group(1) @binding(4) var<storage, read> keys: array<vec4<f32>>;
@group(1) @binding(5) var<storage, read> values: array<vec4<f32>>;
@group(1) @binding(6) var<storage, read_write> z: array<vec4<f32>>;

var<workgroup> partSums: array<array<vec4<f32>, D4>, LANES>;
var<workgroup> partTotals: array<f32, LANES>;
var<workgroup> partLargest: array<f32, LANES>;

@compute @workgroup_size(LANES)
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
  let dHead4 = params.dHead / 4u; // D4, but no constant: drivers unroll loops over constants, see attention_rows.wgsl
  let queryAt = (row * params.queryStride + head * params.dHead) / 4u;

  var sums: array<vec4<f32>, D4>;
  var largest = -3.0e38;
  var total = 0.0;
  let last = lastVisible(sequence, position);
  for (var first = firstVisible(position) + thread; first <= last; first += STEP * LANES) {
    // Past the last key a step meets that one again, and gives it no weight.
    var at: array<u32, STEP>;
    for (var j = 0u; j < STEP; j++) {
      let key = min(first + j * LANES, last);
      at[j] = kvIndex(sequence, key, kvHead) * D4;
    }
    var products = array<f32, STEP>();
    for (var d = 0u; d < dHead4; d++) {
      let query = queries[queryAt + d];
      for (var j = 0u; j < STEP; j++) {
        products[j] += dot(query, keys[at[j] + d]);
      }
    }
    var scores: array<f32, STEP>;
    var newLargest = largest;
    for (var j = 0u; j < STEP; j++) {
      scores[j] = finishScore(products[j], head, position, min(first + j * LANES, last));
      newLargest = max(newLargest, scores[j]);
    }
    let correction = exp(largest - newLargest);
    largest = newLargest;
    total *= correction;
    var weights: array<f32, STEP>;
    for (var j = 0u; j < STEP; j++) {
      weights[j] = select(0.0, exp(scores[j] - largest), first + j * LANES <= last);
      total += weights[j];
    }
    for (var d = 0u; d < dHead4; d++) {
      var sum = sums[d] * correction;
      for (var j = 0u; j < STEP; j++) {
        sum = fma(vec4<f32>(weights[j]), values[at[j] + d], sum);
      }
      sums[d] = sum;
    }
  }
  for (var d = 0u; d < dHead4; d++) {
    partSums[thread][d] = sums[d];
  }
  partTotals[thread] = total;
  partLargest[thread] = largest;
  workgroupBarrier();
  var overall = partLargest[0];
  for (var i = 1u; i < LANES; i++) {
    overall = max(overall, partLargest[i]);
  }
  for (var d = thread; d < dHead4; d += LANES) {
    var sum = vec4<f32>();
    var weights = 0.0;
    for (var i = 0u; i < LANES; i++) {
      let share = exp(partLargest[i] - overall);
      sum = fma(vec4<f32>(share), partSums[i][d], sum);
      weights = fma(share, partTotals[i], weights);
    }
    z[index * D4 + d] = sum / divisorOf(weights, head, overall);
  }
}
