// A gated MLP's hidden layer, where both of its factors are still needed: out = act(gate) * x. Elements are numbers or four of them.
// Grid: x = ceil(count / 64), folded into y.

struct Params {
  count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> gate: array<Element>;
@group(1) @binding(1) var<storage, read> x: array<Element>;
@group(1) @binding(2) var<storage, read_write> out: array<Element>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let i = id.y * grid.x * 64u + id.x;
  if (i < params.count) {
    out[i] = activateEach(gate[i]) * x[i];
  }
}
