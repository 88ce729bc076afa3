// What each query gives to the gradient of its head's sink, where the pattern is in memory:
//   out[row, head] = -(1 - sum(pattern)) * (pattern · grad)
// pattern, grad (of the pattern): [row, head, key]. One workgroup a (row, head), folded into y.

@group(1) @binding(3) var<storage, read> pattern: array<f32>;
@group(1) @binding(4) var<storage, read> grad: array<f32>;
@group(1) @binding(5) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = group.y * grid.x + group.x;
  if (index >= params.rowCount * params.nHeads) {
    return;
  }
  let entry = rowTable[index / params.nHeads];
  let last = lastVisible(entry.x, entry.y);
  let start = index * params.keyCount;
  var taken = 0.0;
  var along = 0.0;
  for (var key = firstVisible(entry.y) + thread; key <= last; key += THREADS) {
    taken += pattern[start + key];
    along = fma(pattern[start + key], grad[start + key], along);
  }
  let rest = 1.0 - reduceSum(thread, taken);
  let total = reduceSum(thread, along);
  if (thread == 0u) {
    out[index] = -rest * total;
  }
}
