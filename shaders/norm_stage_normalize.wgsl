// The second stage of a norm, for runs that look at or change what comes of it (hook_normalized):
//   out[r] = (x[r] - mean) / scales[r]
// scales: [rowCount] f32; out: [rowCount, width] f32. One workgroup a row, folded into y.

alias Element = f32;

@group(1) @binding(1) var<storage, read> scales: array<f32>;
@group(1) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = group.y * grid.x + group.x;
  if (row >= params.rowCount) {
    return;
  }
  let start = row * params.width;
  let mean = meanOf(start, thread);
  for (var d = thread; d < params.width; d += THREADS) {
    out[start + d] = (x[start + d] - mean) / scales[row];
  }
}
