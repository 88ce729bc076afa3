// One vector into another: out[i] = x[i] * scale, out[i] + x[i] * scale, or out[i] * x[i] * scale.
// Codes, as of a matmul's result: 0 replace, 1 add, 2 multiply. Elements are numbers or four of them (`Element`).
// Grid: x = ceil(count / 64), folded into y.

struct Params {
  count: u32,
  scale: f32,
}

override COMBINE: u32 = 1u;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> x: array<Element>;
@group(1) @binding(1) var<storage, read_write> out: array<Element>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.count) {
    return;
  }
  let value = x[index] * params.scale;
  switch COMBINE {
    case 0u: { out[index] = value; }
    case 1u: { out[index] += value; }
    default: { out[index] *= value; }
  }
}
