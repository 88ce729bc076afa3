// What each row gives to the gradients of xIELU's two alphas, out[row] = (for the right side, for the left side):
//   sigmoid(alphas[0]) sum over x > 0 of dy x^2,   sigmoid(alphas[1]) sum over the others of dy (exp(min(x, eps)) - 1 - x)
// x, dy: [rows, width]. One workgroup a row, folded into y.

struct Params {
  rowCount: u32,
  width: u32,
  start: u32,
  gradStart: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(2) var<storage, read> x: array<f32>;
@group(1) @binding(3) var<storage, read> dy: array<f32>;
@group(1) @binding(4) var<storage, read_write> out: array<f32>;

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
  var right = 0.0;
  var left = 0.0;
  for (var d = thread; d < params.width; d += THREADS) {
    let value = x[params.start + row * params.width + d];
    let grad = dy[params.gradStart + row * params.width + d];
    if (value > 0.0) {
      right = fma(grad * value, value, right);
    } else {
      left = fma(grad, leftPart(value), left);
    }
  }
  right = reduceSum(thread, right);
  left = reduceSum(thread, left);
  if (thread == 0u) {
    out[2u * row] = right / (1.0 + exp(-alphas[0]));
    out[2u * row + 1u] = left / (1.0 + exp(-alphas[1]));
  }
}
