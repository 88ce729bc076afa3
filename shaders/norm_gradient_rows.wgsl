// norm_gradient.wgsl with an invocation for each vector, four elements at a time, for adapters that run on a CPU, as
// norm_rows.wgsl is norm.wgsl: nothing is shared, so nobody waits. Width, starts and strides: multiples of four.
// Grid: x = ceil(rowCount * groups / 8), folded into y.

alias Element = vec4<f32>;

override SUBTRACT_MEAN: bool = true; // as in norm_shared.wgsl

@compute @workgroup_size(8)
fn main(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = (workgroup.y * grid.x + workgroup.x) * 8u + thread;
  if (index >= params.rowCount * params.groups) {
    return;
  }
  let row = index / params.groups;
  let group = index % params.groups;
  let width4 = params.width / 4u;
  let start = (params.start + row * params.rowStride) / 4u + group * width4;
  let gradAt = (params.gradStart + row * params.gradStride) / 4u + group * width4;
  let weightAt = group * params.weightStride / 4u;
  let count = f32(params.width);
  let one = vec4<f32>(1.0);
  var mean = vec4<f32>();
  if (SUBTRACT_MEAN) {
    for (var d = 0u; d < width4; d++) {
      mean += x[start + d];
    }
    mean = vec4<f32>(dot(mean, one) / count);
  }
  var squares = vec4<f32>();
  for (var d = 0u; d < width4; d++) {
    let centred = x[start + d] - mean;
    squares = fma(centred, centred, squares);
  }
  let factor = 1.0 / sqrt(dot(squares, one) / count + params.eps);
  var sum = vec4<f32>();
  var along = vec4<f32>();
  for (var d = 0u; d < width4; d++) {
    let g = scaled(gradAt + d, weightAt + d);
    sum += g;
    along = fma(g, (x[start + d] - mean) * factor, along);
  }
  let meanAlong = dot(along, one) / count;
  var centre = 0.0;
  if (SUBTRACT_MEAN) {
    centre = dot(sum, one) / count;
  }
  for (var d = 0u; d < width4; d++) {
    let y = (x[start + d] - mean) * factor;
    let dx = (scaled(gradAt + d, weightAt + d) - centre - y * meanAlong) * factor;
    keep(index * width4 + d, grad[gradAt + d] * y);
    grad[gradAt + d] = dx;
  }
}
