// The MLP's nonlinearity: out[r, f] = act(pre[r, f]), or act(gate[r, f]) * in[r, f] for a gated MLP, whose packed input
// holds the gate first and the linear part `width` later. Grid: x = ceil(rowCount * width / 64), folded into y.

struct Params {
  rowCount: u32,
  width: u32,
}

override GATED: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> pre: array<f32>;
@group(1) @binding(1) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.rowCount * params.width) {
    return;
  }
  if (GATED) {
    let at = (index / params.width) * 2u * params.width + index % params.width;
    out[index] = activate(pre[at]) * pre[at + params.width];
  } else {
    out[index] = activate(pre[index]);
  }
}
