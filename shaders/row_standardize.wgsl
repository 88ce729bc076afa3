// Rows brought to a standard place and spread, and back, in place, by their (shift, divisor):
//   KIND 0: (x - shift) / (divisor + eps)
//   KIND 1: x * divisor + shift
//   KIND 2, 3: the same without the shift, which are the gradients
// x [rowCount, width]. Grid: x = ceil(count / 64), folded into y.

struct Params {
  count: u32,
  width: u32,
  eps: f32,
}

override KIND: u32 = 0u;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> statistics: array<vec2<f32>>;
@group(1) @binding(1) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.count) {
    return;
  }
  let own = statistics[index / params.width];
  let value = x[index];
  switch KIND {
    case 0u: { x[index] = (value - own.x) / (own.y + params.eps); }
    case 1u: { x[index] = value * own.y + own.x; }
    case 2u: { x[index] = value / (own.y + params.eps); }
    default: { x[index] = value * own.y; }
  }
}
