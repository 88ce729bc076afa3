// Copies rows between strided tensors: for each entry (source row, target row) of the list,
// out[targetStart + target * targetRowStride + h * targetHeadStride + d] =
//   x[sourceStart + source * sourceRowStride + h * sourceHeadStride + d]   for h < heads, d < width.
// A source row of all ones is none: zeros. Captures, row selection and slices are this one kernel, for elements that are numbers or four of them (`Element`), with
// widths, starts and strides in those. Grid: x = ceil(entries * heads * width / 64), folded into y.

struct Params {
  entries: u32,
  heads: u32,
  width: u32,
  sourceStart: u32,
  sourceRowStride: u32,
  sourceHeadStride: u32,
  targetStart: u32,
  targetRowStride: u32,
  targetHeadStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> list: array<vec2<u32>>;
@group(1) @binding(1) var<storage, read> x: array<Element>;
@group(1) @binding(2) var<storage, read_write> out: array<Element>;

const NONE = 0xffffffffu;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.entries * params.heads * params.width) {
    return;
  }
  let d = index % params.width;
  let head = (index / params.width) % params.heads;
  let entry = list[index / params.width / params.heads];
  let source = params.sourceStart + entry.x * params.sourceRowStride + head * params.sourceHeadStride + d;
  let to = params.targetStart + entry.y * params.targetRowStride + head * params.targetHeadStride + d;
  if (entry.x == NONE) {
    out[to] = Element();
  } else {
    out[to] = x[source];
  }
}
