// Gradient of a norm's input, in place of that of its result. With y = (x - mean) / s and g = dy * (w + weightOffset),
//   dx = (g - mean(g) - y * mean(g * y)) / s          RMSNorm: without the means of x and of g
// Each row has `groups` vectors of `width`: one, or one a head (q/k norm); weights have `weightStride` elements a group.
// One workgroup a (row, group), folded into y.

struct Params {
  rowCount: u32,
  width: u32,
  groups: u32,
  start: u32,
  rowStride: u32,
  gradStart: u32,
  gradStride: u32,
  weightStride: u32,
  eps: f32,
  weightOffset: f32,
}

override HAS_WEIGHT: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> x: array<f32>;
@group(1) @binding(1) var<storage, read> weights: array<f32>;
@group(1) @binding(2) var<storage, read_write> grad: array<f32>;

fn scaled(at: u32, w: u32) -> f32 {
  if (HAS_WEIGHT) {
    return grad[at] * (weights[w] + params.weightOffset);
  }
  return grad[at];
}

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
    grad[gradAt + d] = (scaled(gradAt + d, weightAt + d) - centre - y * meanAlong) * factor;
  }
}
