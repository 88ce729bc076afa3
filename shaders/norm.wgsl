// LayerNorm and RMSNorm of each row in one go: out[r] (+)= (x[r] - mean) / sqrt(variance + eps) * (w + weightOffset) + b.
// One workgroup a row, folded into y.

alias Element = f32;

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
  let factor = 1.0 / scaleOf(start, mean, thread);
  for (var d = thread; d < params.width; d += THREADS) {
    affineTo(start + d, d, (x[start + d] - mean) * factor);
  }
}
