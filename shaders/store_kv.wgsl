// Keys and values of models that do not rotate them, written to their slots as they are. What rope_store.wgsl does without
// ROTATE, four dimensions an invocation and queries left alone.
//
// qkv: [row, nHeads + 2 nKvHeads, dHead]; keys, values: [slot, nKvHeads, dHead], as vec4.
// Grid: x = ceil(rowCount * nKvHeads * dHead / 4 / 64), folded into y.

struct Params {
  rowCount: u32,
  nHeads: u32,
  nKvHeads: u32,
  dHead: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> rowTable: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> qkv: array<vec4<f32>>;
@group(1) @binding(2) var<storage, read_write> keys: array<vec4<f32>>;
@group(1) @binding(3) var<storage, read_write> values: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  let width4 = params.nKvHeads * params.dHead / 4u;
  if (index >= params.rowCount * width4) {
    return;
  }
  let row = index / width4;
  let column = index % width4;
  let readAt = row * (params.nHeads * params.dHead / 4u + 2u * width4) + params.nHeads * params.dHead / 4u + column;
  let writeAt = rowTable[row].z * width4 + column;
  keys[writeAt] = qkv[readAt];
  values[writeAt] = qkv[readAt + width4];
}
