// Back through the soft cap of scores, in place: grad *= 1 - (c / softCap)^2, where c is the capped score before ALiBi; 0 where
// the query cannot see. One invocation a score. Grid: x = ceil(rowCount * nHeads * keyCount / 64), folded into y.

@group(1) @binding(3) var<storage, read> scores: array<f32>;
@group(1) @binding(4) var<storage, read_write> grad: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.rowCount * params.nHeads * params.keyCount) {
    return;
  }
  let key = index % params.keyCount;
  let head = (index / params.keyCount) % params.nHeads;
  let entry = rowTable[index / params.keyCount / params.nHeads];
  if (key > lastVisible(entry.x, entry.y) || key < firstVisible(entry.y)) {
    grad[index] = 0.0;
    return;
  }
  var capped = scores[index];
  if (HAS_ALIBI) {
    capped -= alibiOf(head, entry.y, key);
  }
  let part = capped / params.softCap;
  grad[index] *= 1.0 - part * part;
}
