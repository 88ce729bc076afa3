// The last stage of a norm, after norm_stage_normalize.wgsl: out[r] (+)= x[r] * (w + weightOffset) + b.
// One workgroup of 64 a row, folded into y.

alias Element = f32;

@compute @workgroup_size(64)
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
  for (var d = thread; d < params.width; d += 64u) {
    affineTo(start + d, d, x[start + d]);
  }
}
