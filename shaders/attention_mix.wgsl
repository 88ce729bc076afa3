// Pattern times values: z[row, head, d] = sum over the keys the query can see of pattern[row, head, key] * v[key, d].
// One invocation four dimensions. Grid: x = ceil(rowCount * nHeads * dHead / 4 / 64), folded into y.

@group(1) @binding(3) var<storage, read> pattern: array<f32>;
@group(1) @binding(4) var<storage, read> values: array<vec4<f32>>;
@group(1) @binding(5) var<storage, read_write> z: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  let width = params.dHead / 4u;
  if (index >= params.rowCount * params.nHeads * width) {
    return;
  }
  let d = index % width;
  let rowHead = index / width;
  let head = rowHead % params.nHeads;
  let entry = rowTable[rowHead / params.nHeads];
  let kvHead = kvHeadOf(head);
  var sum = vec4<f32>();
  let last = lastVisible(entry.x, entry.y);
  for (var key = firstVisible(entry.y); key <= last; key++) {
    let at = kvIndex(entry.x, key, kvHead) * width + d;
    sum = fma(vec4<f32>(pattern[rowHead * params.keyCount + key]), values[at], sum);
  }
  z[index] = sum;
}
