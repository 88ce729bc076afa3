// Attention scores in a buffer of their own, for runs that look at or change them: scores[row, head, key], after scale, soft cap and
// ALiBi. Keys the query cannot see get `masked`, minus infinity.
// One invocation a score. Grid: x = ceil(rowCount * nHeads * keyCount / 64), folded into y.

@group(1) @binding(3) var<storage, read> queries: array<f32>;
@group(1) @binding(4) var<storage, read> keys: array<vec4<f32>>;
@group(1) @binding(5) var<storage, read> masked: array<f32>;
@group(1) @binding(6) var<storage, read_write> scores: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.rowCount * params.nHeads * params.keyCount) {
    return;
  }
  let key = index % params.keyCount;
  let head = (index / params.keyCount) % params.nHeads;
  let row = index / params.keyCount / params.nHeads;
  let sequence = rowTable[row].x;
  let position = rowTable[row].y;
  if (key > lastVisible(sequence, position) || key < firstVisible(position)) {
    scores[index] = masked[0];
    return;
  }
  let keyAt = kvIndex(sequence, key, kvHeadOf(head)) * (params.dHead / 4u);
  let queryAt = row * params.queryStride + head * params.dHead;
  var product = 0.0;
  for (var d = 0u; d < params.dHead; d += 4u) {
    let query = vec4<f32>(queries[queryAt + d], queries[queryAt + d + 1u], queries[queryAt + d + 2u], queries[queryAt + d + 3u]);
    product += dot(query, keys[keyAt + d / 4u]);
  }
  scores[index] = finishScore(product, head, position, key);
}
