// Attention of many rows without workgroup memory: one invocation does all of one (row, head), with a running softmax
// (Milakov and Gimelshein 2018, arXiv 1805.02867) over its keys four at a time and its output on the stack.
//
// For prompts on adapters that run on a CPU, where attention.wgsl spends nearly all its time in barriers: 12 heads of 64,
// 128 rows take 13 ms here against 364 ms on lavapipe and 94 against 1985 ms on SwiftShader (medians of 4, sides
// interleaved). Neighbouring invocations take neighbouring rows of one head, so that they walk the same keys together.
//
// The loops over a head stay loops. Unrolled, with query and sums in registers and eight keys at a time, it ran no faster and
// lavapipe took 69 s to compile it (25 s with four keys, 11 s with one): every load of a buffer becomes a gather there,
// which costs the compiler some 50 ms.
// D4: vec4 of a head. Grid: x = ceil(rowCount * nHeads / 64), folded into y.

@group(1) @binding(3) var<storage, read> queries: array<vec4<f32>>;
@group(1) @binding(4) var<storage, read> keys: array<vec4<f32>>;
@group(1) @binding(5) var<storage, read> values: array<vec4<f32>>;
@group(1) @binding(6) var<storage, read_write> z: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.rowCount * params.nHeads) {
    return;
  }
  let row = index % params.rowCount;
  let head = index / params.rowCount;
  let sequence = rowTable[row].x;
  let position = rowTable[row].y;
  let kvHead = kvHeadOf(head);
  let dHead4 = params.dHead / 4u; // D4, but no constant: drivers unroll loops over constants
  let queryAt = (row * params.queryStride + head * params.dHead) / 4u;

  var sums: array<vec4<f32>, D4>;
  var largest = -3.0e38;
  var total = 0.0;
  let last = lastVisible(sequence, position);
  for (var key = firstVisible(position); key <= last; key += 4u) {
    // Keys past the end repeat the last one and get no weight.
    var at: vec4<u32>;
    for (var i = 0u; i < 4u; i++) {
      at[i] = kvIndex(sequence, min(key + i, last), kvHead) * D4;
    }
    var products = vec4<f32>();
    for (var d = 0u; d < dHead4; d++) {
      let query = queries[queryAt + d];
      products += vec4<f32>(
        dot(query, keys[at.x + d]),
        dot(query, keys[at.y + d]),
        dot(query, keys[at.z + d]),
        dot(query, keys[at.w + d]),
      );
    }
    var scores: vec4<f32>;
    for (var i = 0u; i < 4u; i++) {
      scores[i] = select(-3.0e38, finishScore(products[i], head, position, key + i), key + i <= last);
    }
    let newLargest = max(largest, max(max(scores.x, scores.y), max(scores.z, scores.w)));
    let correction = exp(largest - newLargest);
    let weights = exp(scores - vec4<f32>(newLargest));
    total = total * correction + weights.x + weights.y + weights.z + weights.w;
    largest = newLargest;
    for (var d = 0u; d < dHead4; d++) {
      sums[d] = sums[d] * correction
        + weights.x * values[at.x + d]
        + weights.y * values[at.y + d]
        + weights.z * values[at.z + d]
        + weights.w * values[at.w + d];
    }
  }
  let divisor = divisorOf(total, head, largest);
  let out = (row * params.nHeads + head) * D4;
  for (var d = 0u; d < dHead4; d++) {
    z[out + d] = sums[d] / divisor;
  }
}
