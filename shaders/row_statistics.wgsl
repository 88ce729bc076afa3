// Where the numbers of a row lie and how far they spread: out[row] = (shift, divisor).
//   CENTRED: the mean, and the standard deviation of a sample (by width - 1)
//   else: 0, and the root of the mean square
// x [rowCount, width]. One workgroup a row, folded into y; reduce.wgsl sums.

struct Params {
  rowCount: u32,
  width: u32,
}

override CENTRED: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> x: array<f32>;
@group(1) @binding(1) var<storage, read_write> out: array<vec2<f32>>;

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
  var sum = 0.0;
  if (CENTRED) {
    for (var i = thread; i < params.width; i += THREADS) {
      sum += x[start + i];
    }
  }
  let mean = reduceSum(thread, sum) / f32(params.width);
  var squares = 0.0;
  for (var i = thread; i < params.width; i += THREADS) {
    let off = x[start + i] - mean;
    squares += off * off;
  }
  let total = reduceSum(thread, squares);
  if (thread == 0u) {
    let count = select(f32(params.width), f32(params.width) - 1.0, CENTRED);
    out[row] = vec2<f32>(mean, sqrt(total / count));
  }
}
