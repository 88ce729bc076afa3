// The sum of the directions of a row's active features, each times its activation: out[row] (+)= sum of x[row, f] W[f], over the
// features of one part of W. Each invocation has sixteen columns of a row, and goes through the words whose bits say which features
// are active (active_words.wgsl), in order; so it reads as many rows of W as features are active. There is no barrier, which costs
// most on CPUs: docs/modules.md has what was measured.
// x [rowCount, xStride], active [rowCount, 1 + 2 words], W [features, width], out [rowCount, width].
// Grid: x = ceil(rowCount * ceil(width / 16) / 64), folded into y.

struct Params {
  rowCount: u32,
  width: u32,
  words: u32,
  xStart: u32,
  xStride: u32,
  weightStride: u32,
}

override ACCUMULATE: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> x: array<f32>;
@group(1) @binding(2) var<storage, read> activeWords: array<u32>;
@group(1) @binding(3) var<storage, read_write> out: array<f32>;

fn put(row: u32, firstColumn: u32, sum: vec4<f32>) {
  for (var i = 0u; i < 4u; i++) {
    let column = firstColumn + i;
    if (column < params.width) {
      let at = row * params.width + column;
      if (ACCUMULATE) { out[at] += sum[i]; } else { out[at] = sum[i]; }
    }
  }
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  let groups = (params.width + 15u) / 16u;
  let row = index / groups;
  if (row >= params.rowCount) {
    return;
  }
  let column = 16u * (index % groups);
  // Columns beyond the row's end read its last ones; they are not put.
  let last = params.weightStride / 4u - 1u;
  let places = min(vec4<u32>(0u, 1u, 2u, 3u) + column / 4u, vec4<u32>(last));
  let start = row * params.xStride + params.xStart;
  let list = row * (1u + 2u * params.words);
  let count = activeWords[list];
  var a = vec4<f32>();
  var b = vec4<f32>();
  var c = vec4<f32>();
  var d = vec4<f32>();
  for (var i = 0u; i < count; i++) {
    let first = 32u * activeWords[list + 1u + 2u * i];
    var bits = activeWords[list + 2u + 2u * i];
    while (bits != 0u) {
      let f = first + firstTrailingBit(bits);
      bits &= bits - 1u;
      let value = x[start + f];
      let at = f * (params.weightStride / 4u) + places;
      a += value * weight4(at.x);
      b += value * weight4(at.y);
      c += value * weight4(at.z);
      d += value * weight4(at.w);
    }
  }
  put(row, column, a);
  put(row, column + 4u, b);
  put(row, column + 8u, c);
  put(row, column + 12u, d);
}
