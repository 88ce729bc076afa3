// Keys and values as they are, written to their slots; rope_store.wgsl does the same for keys that it has just rotated.
//
// k, v: `width` = nKvHeads * dHead elements from keyStart and valueStart in rows of keyStride and valueStride; they may lie
// in one buffer. keys, values: [slot, width]. All as vec4.
// Grid: x = ceil(rowCount * width / 4 / 64), folded into y.

struct Params {
  rowCount: u32,
  width: u32,
  keyStart: u32,
  keyStride: u32,
  valueStart: u32,
  valueStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> rowTable: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> k: array<vec4<f32>>;
@group(1) @binding(2) var<storage, read> v: array<vec4<f32>>;
@group(1) @binding(3) var<storage, read_write> keys: array<vec4<f32>>;
@group(1) @binding(4) var<storage, read_write> values: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  let width4 = params.width / 4u;
  if (index >= params.rowCount * width4) {
    return;
  }
  let row = index / width4;
  let column = index % width4;
  let writeAt = rowTable[row].z * width4 + column;
  keys[writeAt] = k[(params.keyStart + row * params.keyStride) / 4u + column];
  values[writeAt] = v[(params.valueStart + row * params.valueStride) / 4u + column];
}
