// What a patch of each row does to a metric, to first order: the sum of (source - changed) * gradient over the row.
//
// source, changed, gradient [rows, width]; out[outStart + row]. One workgroup a row, folded into y.

struct Params {
  rowCount: u32,
  width: u32,
  outStart: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> source: array<f32>;
@group(1) @binding(1) var<storage, read> changed: array<f32>;
@group(1) @binding(2) var<storage, read> gradient: array<f32>;
@group(1) @binding(3) var<storage, read_write> out: array<f32>;

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
  let base = row * params.width;
  var sum = 0.0;
  for (var dim = thread; dim < params.width; dim += THREADS) {
    sum = fma(source[base + dim] - changed[base + dim], gradient[base + dim], sum);
  }
  sum = reduceSum(thread, sum);
  if (thread == 0u) {
    out[params.outStart + row] = sum;
  }
}
