// From the gradient of the pattern to that of the scores, in place: grad = pattern * (grad - sum over keys of pattern * grad);
// 0 where the query cannot see. One workgroup a (row, head), folded into y.

@group(1) @binding(3) var<storage, read> pattern: array<f32>;
@group(1) @binding(4) var<storage, read_write> grad: array<f32>;

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
  let first = firstVisible(entry.y);
  let last = lastVisible(entry.x, entry.y);
  let start = index * params.keyCount;
  var along = 0.0;
  for (var key = first + thread; key <= last; key += THREADS) {
    along = fma(pattern[start + key], grad[start + key], along);
  }
  let total = reduceSum(thread, along);
  for (var key = thread; key < params.keyCount; key += THREADS) {
    let visible = key >= first && key <= last;
    grad[start + key] = select(0.0, pattern[start + key] * (grad[start + key] - total), visible);
  }
}
