// Which numbers of each row are not 0: a bit for each, 32 in a word, the first the lowest. x [rowCount, xStride], of which `width` elements
// from xStart on are looked at; out [rowCount, words]. An element is SIZE numbers, 1 or 4: kernels/dictionary.ts puts it before, with
// `bitsOf`. One invocation a word. Grid: x = ceil(rowCount * words / 64), folded into y.

struct Params {
  rowCount: u32,
  width: u32,
  words: u32,
  xStart: u32,
  xStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> x: array<Element>;
@group(1) @binding(1) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  let row = index / params.words;
  if (row >= params.rowCount) {
    return;
  }
  let first = 32u / SIZE * (index % params.words);
  let start = row * params.xStride + params.xStart + first;
  let count = min(32u / SIZE, params.width - first);
  var bits = 0u;
  for (var i = 0u; i < count; i++) {
    bits |= bitsOf(x[start + i]) << (SIZE * i);
  }
  out[index] = bits;
}
