// out[d] += sum over vectors v of dy[v, d] (* x[v, d]): what the rows of a pass add to the gradient of a bias, or of a norm's
// weight. One invocation an element, in the order of the vectors: the same bits each time.
// Grid: x = ceil(width / 64), folded into y.

struct Params {
  count: u32,
  width: u32,
}

override HAS_FACTOR: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> dy: array<f32>;
@group(1) @binding(1) var<storage, read> x: array<f32>;
@group(1) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let d = id.y * grid.x * 64u + id.x;
  if (d >= params.width) {
    return;
  }
  var sum = 0.0;
  for (var v = 0u; v < params.count; v++) {
    let at = v * params.width + d;
    if (HAS_FACTOR) {
      sum = fma(dy[at], x[at], sum);
    } else {
      sum += dy[at];
    }
  }
  out[d] += sum;
}
