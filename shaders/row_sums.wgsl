// Two sums of each row: out[row] = factor * (sum of dy, sum of dy * y), the gradient of a row's (shift, divisor).
//   DIVIDED: factor -1 / (divisor + eps), of what was standardized; else 1, of what was brought back.
// dy, y [rowCount, width]. One workgroup a row, folded into y; reduce.wgsl sums.

struct Params {
  rowCount: u32,
  width: u32,
  eps: f32,
}

override DIVIDED: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> dy: array<f32>;
@group(1) @binding(1) var<storage, read> y: array<f32>;
@group(1) @binding(2) var<storage, read> statistics: array<vec2<f32>>;
@group(1) @binding(3) var<storage, read_write> out: array<vec2<f32>>;

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
  var sums = vec2<f32>();
  for (var i = thread; i < params.width; i += THREADS) {
    let value = dy[start + i];
    sums += vec2<f32>(value, value * y[start + i]);
  }
  let first = reduceSum(thread, sums.x);
  let second = reduceSum(thread, sums.y);
  if (thread == 0u) {
    let factor = select(1.0, -1.0 / (statistics[row].y + params.eps), DIVIDED);
    out[row] = factor * vec2<f32>(first, second);
  }
}
