// Gradients of a norm's stages, for runs that look between them; s is the divisor of a row, y = (x - mean) / s.
//   scale:     out[r] = ds[r] (x[r] - mean) / (width s[r])                    x, s and grad = ds [rowCount]
//   divisor:   out[r] = -(grad[r] . x[r]) / s[r]                              x = y, s and grad = dy
// One workgroup a row, folded into y.

struct Params {
  rowCount: u32,
  width: u32,
  eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> x: array<f32>;
@group(1) @binding(1) var<storage, read> scales: array<f32>;
@group(1) @binding(2) var<storage, read> grad: array<f32>;
@group(1) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(THREADS)
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
  let factor = grad[row] / (f32(params.width) * scales[row]);
  for (var d = thread; d < params.width; d += THREADS) {
    out[start + d] = (x[start + d] - mean) * factor;
  }
}

@compute @workgroup_size(THREADS)
fn divisor(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = group.y * grid.x + group.x;
  if (row >= params.rowCount) {
    return;
  }
  let start = row * params.width;
  var along = 0.0;
  for (var d = thread; d < params.width; d += THREADS) {
    along = fma(grad[start + d], x[start + d], along);
  }
  let total = reduceSum(thread, along);
  if (thread == 0u) {
    out[row] = -total / scales[row];
  }
}
