// Attention of one (row, head) without workgroup memory: the invocations of a subgroup score a key each, then share out
// the dimensions of the head to add up those keys' values, weights handed round, with a running softmax from one LANES
// keys to the next (Milakov and Gimelshein 2018, arXiv 1805.02867). For decoding on adapters that run on a CPU and have
// subgroups, where there are few rows.
//
// Milliseconds for 12 heads of 64 and 129 keys, this against attention_keys.wgsl, medians of 7 in one run: one row 0.24
// and 0.22 on lavapipe, 0.6 and 0.9 on SwiftShader; eight rows 1.13 and 1.01, 3.9 and 6.4. Compiling it takes
// SwiftShader 0.17 s instead of 0.35 s. With subgroupShuffle, which takes any lane, SwiftShader is 1.2 times as slow.
// PER: vec4 of a head that an invocation keeps, of D4 in all. A workgroup is one subgroup of LANES, in loops that are
// written out NEIGHBOURS.
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
  let kvHead = head / (params.nHeads / params.nKvHeads);
  let queryAt = (row * params.queryStride + head * params.dHead) / 4u;
  let pieces = (params.dHead / 4u + LANES - 1u) / LANES; // PER, but no constant: drivers unroll loops over constants

  var sums: array<vec4<f32>, PER>;
  var largest = -3.0e38;
  var total = 0.0;
  for (var first = firstVisible(position); first <= position; first += LANES) {
    let count = min(LANES, position + 1u - first);
    let key = first + min(lane, count - 1u);
    let at = (slotOf(sequence, key) * params.nKvHeads + kvHead) * D4;
    var product = vec4<f32>();
    for (var p = 0u; p < pieces; p++) {
      // Each invocation reads every LANES-th vec4 of the query. Past the head's end there are none, and zero is added.
      let d = p * LANES + lane;
      let query = select(vec4<f32>(), queries[queryAt + min(d, D4 - 1u)], d < D4);
      for (var l = 0u; l < NEIGHBOURS; l++) {
        product = fma(subgroupBroadcast(query, l), keys[at + min(p * LANES + l, D4 - 1u)], product);
      }
    }
    let score = select(-3.0e38, finishScore(dot(product, vec4<f32>(1.0)), head, position, key), lane < count);
    let newLargest = max(largest, subgroupMax(score));
    let correction = exp(largest - newLargest);
    let weight = select(0.0, exp(score - newLargest), lane < count);
    largest = newLargest;
    total = fma(total, correction, subgroupAdd(weight));
    for (var p = 0u; p < PER; p++) {
      sums[p] *= correction;
    }
    for (var i = 0u; i < NEIGHBOURS; i++) {
      let share = subgroupBroadcast(weight, i);
      let valueAt = subgroupBroadcast(at, i);
      for (var p = 0u; p < PER; p++) {
        sums[p] = fma(vec4<f32>(share), values[valueAt + min(p * LANES + lane, D4 - 1u)], sums[p]);
      }
    }
  }
  for (var p = 0u; p < PER; p++) {
    if (p * LANES + lane < D4) {
      z[index * D4 + p * LANES + lane] = sums[p] / total;
    }
  }
}
