// out[r, k] (+)= sum over n of x[r, xStart + n] * W[n, k]: the matmul with a weight matrix taken the other way around, as
// when a direction of the residual stream is asked what each neuron writes along it. Reads each weight once a row of x.
//
// x: rows of stride `xStride`; W: `weightRows` rows of stride `weightStride` (a multiple of four), `width` columns; a matrix
// split by rows is dispatched part by part with ACCUMULATE. out [rowCount, width].
// One invocation: four columns of one row. Grid: x = ceil(rowCount * ceil(width / 4) / 64), folded into y.

struct Params {
  rowCount: u32,
  width: u32,
  weightRows: u32,
  weightStride: u32,
  xStart: u32,
  xStride: u32,
}

override ACCUMULATE: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> x: array<f32>;
@group(1) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  let groups = (params.width + 3u) / 4u;
  if (index >= params.rowCount * groups) {
    return;
  }
  let row = index / groups;
  let column = index % groups;
  var sum = vec4<f32>();
  for (var n = 0u; n < params.weightRows; n++) {
    sum += x[params.xStart + row * params.xStride + n] * weight4(n * params.weightStride / 4u + column);
  }
  for (var lane = 0u; lane < 4u; lane++) {
    let k = column * 4u + lane;
    if (k < params.width) {
      let at = row * params.width + k;
      if (ACCUMULATE) {
        out[at] += sum[lane];
      } else {
        out[at] = sum[lane];
      }
    }
  }
}
