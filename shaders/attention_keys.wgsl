// Attention of one (row, head), split over its keys: each of LANES invocations takes every LANES-th key with a running
// softmax of its own, and the parts are joined through workgroup memory. For decoding on adapters that run on a CPU, where
// there are few rows.
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
  let kvHead = head / (params.nHeads / params.nKvHeads);
  let dHead4 = params.dHead / 4u; // D4, but no constant: drivers unroll loops over constants, see attention_rows.wgsl
  let queryAt = (row * params.queryStride + head * params.dHead) / 4u;

  var sums: array<vec4<f32>, D4>;
  var largest = -3.0e38;
  var total = 0.0;
  for (var key = firstVisible(position) + thread; key <= position; key += LANES) {
    let at = (slotOf(sequence, key) * params.nKvHeads + kvHead) * D4;
    var product = 0.0;
    for (var d = 0u; d < dHead4; d++) {
      product += dot(queries[queryAt + d], keys[at + d]);
    }
    let score = finishScore(product, head, position, key);
    let newLargest = max(largest, score);
    let correction = exp(largest - newLargest);
    let weight = exp(score - newLargest);
    largest = newLargest;
    total = fma(total, correction, weight);
    for (var d = 0u; d < dHead4; d++) {
      sums[d] = fma(vec4<f32>(weight), values[at + d], sums[d] * correction);
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
    z[index * D4 + d] = sum / weights;
  }
}
