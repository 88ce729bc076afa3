// Scores to pattern in place: x[row, head, key] = softmax over the keys the query can see, 0 for the others. With a
// sink they add up to less than 1.
// What is written at masked keys has no effect: causality and the window are not the scores' to change.
// One workgroup a (row, head), folded into y.

@group(1) @binding(3) var<storage, read_write> x: array<f32>;

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
  var largest = -3.0e38;
  for (var key = first + thread; key <= last; key += THREADS) {
    largest = max(largest, x[start + key]);
  }
  largest = reduceMax(thread, largest);
  var sum = 0.0;
  for (var key = first + thread; key <= last; key += THREADS) {
    sum += exp(x[start + key] - largest);
  }
  let total = divisorOf(reduceSum(thread, sum), index % params.nHeads, largest);
  for (var key = thread; key < params.keyCount; key += THREADS) {
    let visible = key >= first && key <= last;
    x[start + key] = select(0.0, exp(x[start + key] - largest) / total, visible);
  }
}
