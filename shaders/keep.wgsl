// Keeps some elements of x and puts 0 in the place of the others, in place: the activation of a dictionary's features.
//   KIND 0, JumpReLU:  x where x > other[column], and not below 0; other [width]
//   KIND 1, gated:     x where other > 0, and not below 0; other as x
//   KIND 2, the gradient of both: x where other > 0; other as x
// Grid: x = ceil(count / 64), folded into y.

struct Params {
  count: u32,
  width: u32,
}

override KIND: u32 = 0u;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> other: array<f32>;
@group(1) @binding(1) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.count) {
    return;
  }
  let value = x[index];
  var kept = 0.0;
  switch KIND {
    case 0u: {
      if (value > other[index % params.width]) { kept = max(value, 0.0); }
    }
    case 1u: {
      if (other[index] > 0.0) { kept = max(value, 0.0); }
    }
    default: {
      if (other[index] > 0.0) { kept = value; }
    }
  }
  x[index] = kept;
}
