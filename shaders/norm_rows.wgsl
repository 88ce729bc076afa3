// norm.wgsl with an invocation for each row, four elements at a time, for adapters that run on a CPU: nothing is shared, so
// nobody waits. Milliseconds for 128 x 768, medians of 6 in one run: 0.26 against 0.57 for norm.wgsl with 16 invocations a
// row on lavapipe, 0.92 against 3.0 on SwiftShader; for one row the same.
//
// Mean and variance in two passes, as norm_shared.wgsl has them and says why. width: a multiple of four.
// Grid: x = ceil(rowCount / 8), folded into y.

alias Element = vec4<f32>;

override SUBTRACT_MEAN: bool = true; // as in norm_shared.wgsl

@compute @workgroup_size(8)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = (group.y * grid.x + group.x) * 8u + thread;
  if (row >= params.rowCount) {
    return;
  }
  let width4 = params.width / 4u;
  let start = row * width4;
  var mean = vec4<f32>();
  if (SUBTRACT_MEAN) {
    for (var d = 0u; d < width4; d++) {
      mean += x[start + d];
    }
    mean = vec4<f32>(dot(mean, vec4<f32>(1.0)) / f32(params.width));
  }
  var squares = vec4<f32>();
  for (var d = 0u; d < width4; d++) {
    let centred = x[start + d] - mean;
    squares = fma(centred, centred, squares);
  }
  let factor = 1.0 / sqrt(dot(squares, vec4<f32>(1.0)) / f32(params.width) + params.eps);
  for (var d = 0u; d < width4; d++) {
    affineTo(start + d, d, (x[start + d] - mean) * factor);
  }
}
