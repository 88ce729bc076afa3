// Gradient of a norm's input by a workgroup for each vector; formulas in norm_gradient_shared.wgsl.
// One workgroup a (row, group), folded into y.

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup.y * grid.x + workgroup.x;
  if (index >= params.rowCount * params.groups) {
    return;
  }
  let row = index / params.groups;
  let group = index % params.groups;
  let start = params.start + row * params.rowStride + group * params.width;
  let gradAt = params.gradStart + row * params.gradStride + group * params.width;
  let weightAt = group * params.weightStride;
  let mean = meanOf(start, thread);
  let factor = 1.0 / scaleOf(start, mean, thread);
  var sum = 0.0;
  var along = 0.0;
  for (var d = thread; d < params.width; d += THREADS) {
    let g = scaled(gradAt + d, weightAt + d);
    sum += g;
    along = fma(g, (x[start + d] - mean) * factor, along);
  }
  let meanAlong = reduceSum(thread, along) / f32(params.width);
  var centre = 0.0;
  if (SUBTRACT_MEAN) {
    centre = reduceSum(thread, sum) / f32(params.width);
  }
  for (var d = thread; d < params.width; d += THREADS) {
    let y = (x[start + d] - mean) * factor;
    keep((row * params.groups + group) * params.width + d, grad[gradAt + d] * y);
    grad[gradAt + d] = (scaled(gradAt + d, weightAt + d) - centre - y * meanAlong) * factor;
  }
}
