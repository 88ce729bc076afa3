// The gradient of x, given that of its rows' (shift, divisor), see row_statistics.wgsl:
//   CENTRED: d.x / n + d.y (x - mean) / ((n - 1) deviation);  else: d.y x / (n divisor)
// x, out [rowCount, width]. Grid: x = ceil(count / 64), folded into y.

struct Params {
  count: u32,
  width: u32,
}

override CENTRED: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> x: array<f32>;
@group(1) @binding(1) var<storage, read> statistics: array<vec2<f32>>;
@group(1) @binding(2) var<storage, read> gradients: array<vec2<f32>>;
@group(1) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.count) {
    return;
  }
  let row = index / params.width;
  let own = statistics[row];
  let d = gradients[row];
  let n = f32(params.width);
  if (CENTRED) {
    out[index] = d.x / n + d.y * (x[index] - own.x) / ((n - 1.0) * own.y);
  } else {
    out[index] = d.y * x[index] / (n * own.y);
  }
}
