// The gradient of the pattern: dPattern[row, head, key] = dz[row, head] . v[key], for every key of the row's sequence, also
// those that the query cannot see, as autograd gives it; 0 beyond the sequence's end. `lengths`: keys of each sequence.
// One invocation an element. Grid: x = ceil(rowCount * nHeads * keyCount / 64), folded into y.

@group(1) @binding(3) var<storage, read> dz: array<vec4<f32>>;
@group(1) @binding(4) var<storage, read> values: array<vec4<f32>>;
@group(1) @binding(5) var<storage, read> lengths: array<u32>;
@group(1) @binding(6) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.rowCount * params.nHeads * params.keyCount) {
    return;
  }
  let key = index % params.keyCount;
  let rowHead = index / params.keyCount;
  let sequence = rowTable[rowHead / params.nHeads].x;
  if (key >= lengths[sequence]) {
    out[index] = 0.0;
    return;
  }
  let width = params.dHead / 4u;
  let valueAt = kvIndex(sequence, key, kvHeadOf(rowHead % params.nHeads)) * width;
  let gradAt = rowHead * width;
  var sum = 0.0;
  for (var d = 0u; d < width; d++) {
    sum += dot(dz[gradAt + d], values[valueAt + d]);
  }
  out[index] = sum;
}
