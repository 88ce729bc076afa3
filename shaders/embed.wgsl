// Looks up one row of a table for each row of the batch: out[r, d] = scale * table[index(r), d], and adds the row of a
// second table that belongs to its position.
//
// index(r) = indices[indexStart + r * indexStride] + indexOffset: a column of the row table, or a list of tokens. A table
// larger than one binding is split by rows; each part is dispatched with its `firstRow` and writes only the rows it holds.
// rowTable: vec4 (sequence, position, slot, token). positions: f32, rows of `positionStride`. Elements are numbers or four of them
// (`Element`), in which widths and strides are counted; `weightAt` reads one of the table.
// Grid: x = ceil(rowCount * width / 64), folded into y.

struct Params {
  rowCount: u32,
  width: u32,
  tableStride: u32,
  firstRow: u32,
  tableRows: u32,
  indexStart: u32,
  indexStride: u32,
  indexOffset: u32,
  positionOffset: u32,
  positionStride: u32,
  scale: f32,
}

override HAS_POSITIONS: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> indices: array<u32>;
@group(1) @binding(2) var<storage, read_write> out: array<Element>;
@group(1) @binding(3) var<storage, read> rowTable: array<vec4<u32>>;
@group(1) @binding(4) var<storage, read> positions: array<Element>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let at = id.y * grid.x * 64u + id.x;
  if (at >= params.rowCount * params.width) {
    return;
  }
  let row = at / params.width;
  let column = at % params.width;
  let index = indices[params.indexStart + row * params.indexStride] + params.indexOffset;
  if (index < params.firstRow || index >= params.firstRow + params.tableRows) {
    return;
  }
  var value = params.scale * weightAt((index - params.firstRow) * params.tableStride + column);
  if (HAS_POSITIONS) {
    value += positions[(rowTable[row].y + params.positionOffset) * params.positionStride + column];
  }
  out[at] = value;
}
