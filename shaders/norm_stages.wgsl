// The norm of norm.wgsl in its three stages, for runs that look at or change what lies between them:
//   scale:     scales[r] = sqrt(variance(x[r]) + eps)          (hook_scale)
//   normalize: out[r] = (x[r] - mean) / scales[r]              (hook_normalized)
//   affine:    out[r] (+)= x[r] * (w + weightOffset) + b
// One workgroup of 64 a row, folded into y. The second stage finds its scales [rowCount] in place of weights.

alias Element = f32;

@compute @workgroup_size(64)
fn scale(
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
  let divisor = scaleOf(start, mean, thread);
  if (thread == 0u) {
    out[row] = divisor;
  }
}

@compute @workgroup_size(64)
fn normalize(
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
  for (var d = thread; d < params.width; d += 64u) {
    out[start + d] = (x[start + d] - mean) / weights[row];
  }
}

@compute @workgroup_size(64)
fn affine(
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
