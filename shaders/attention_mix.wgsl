// Pattern times values: z[row, head, d] = sum over the keys the query can see of pattern[row, head, key] * v[key, d].
// One invocation an output. Grid: x = ceil(rowCount * nHeads * dHead / 64), folded into y.

@group(1) @binding(3) var<storage, read> pattern: array<f32>;
@group(1) @binding(4) var<storage, read> values: array<f32>;
@group(1) @binding(5) var<storage, read_write> z: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.rowCount * params.nHeads * params.dHead) {
    return;
  }
  let d = index % params.dHead;
  let rowHead = index / params.dHead;
  let head = rowHead % params.nHeads;
  let entry = rowTable[rowHead / params.nHeads];
  let kvHead = kvHeadOf(head);
  var sum = 0.0;
  let last = lastVisible(entry.x, entry.y);
  for (var key = firstVisible(entry.y); key <= last; key++) {
    let at = kvIndex(entry.x, key, kvHead) * params.dHead + d;
    sum = fma(pattern[rowHead * params.keyCount + key], values[at], sum);
  }
  z[index] = sum;
}
