// Rotary position embedding of queries and keys in place, and the write of keys and values into the cache.
//
// qkv: heads of dHead from `start` in rows of `rowStride`: nHeads queries, nKvHeads keys, nKvHeads values. The first `rotaryDim` dimensions of each
// query and key rotate by position * frequency (Su et al. 2021, arXiv 2104.09864); cosines and sines come in a table
// [position, rotaryDim / 2, (cos, sin)] computed on the host. Keys and values go to keys, values: [slot, nKvHeads, dHead].
// Without STORE it only rotates, queries or keys alone as well (nKvHeads = 0), for runs that look at rotated keys;
// store_kv.wgsl stores them then.
// rowTable: vec4 (sequence, position, slot, token).
//
// Elements are numbers, or four of them where pairs (i, i + rotaryDim / 2) come in fours: widths, starts and strides are in
// elements, and a pair is one of elements. One invocation a pair. Grid: x = ceil(rowCount * heads * dHead / 2 / 64), folded into y.

struct Params {
  rowCount: u32,
  nHeads: u32,
  nKvHeads: u32,
  dHead: u32,
  rotaryDim: u32,
  start: u32,
  rowStride: u32,
}

override STORE: bool = true;
// Pairs (2i, 2i + 1) instead of (i, i + rotaryDim / 2).
override INTERLEAVED: bool = false;

// Turns back, which takes the gradient of what was rotated to that of what it was before.
override INVERSE: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> rowTable: array<vec4<u32>>;
@group(1) @binding(2) var<storage, read_write> qkv: array<Element>;
@group(1) @binding(3) var<storage, read_write> keys: array<Element>;
@group(1) @binding(4) var<storage, read_write> values: array<Element>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let heads = params.nHeads + 2u * params.nKvHeads;
  let pairs = params.dHead / 2u;
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.rowCount * heads * pairs) {
    return;
  }
  let pair = index % pairs;
  let head = (index / pairs) % heads;
  let row = index / pairs / heads;
  let half = params.rotaryDim / 2u;
  let isValue = head >= params.nHeads + params.nKvHeads;
  // Which two dimensions this invocation owns: a rotating pair, or two neighbours among those that pass.
  let rotates = !isValue && pair < half;
  var first = 2u * pair;
  var second = first + 1u;
  if (!INTERLEAVED && pair < half) {
    first = pair;
    second = pair + half;
  }
  let base = params.start + row * params.rowStride + head * params.dHead;
  var x = qkv[base + first];
  var y = qkv[base + second];
  if (rotates) {
    let angle = angleAt(rowTable[row].y * half + pair);
    let sine = select(angle.sine, -angle.sine, INVERSE);
    let before = x;
    x = x * angle.cosine - y * sine;
    y = y * angle.cosine + before * sine;
    qkv[base + first] = x;
    qkv[base + second] = y;
  }
  if (STORE && head >= params.nHeads) {
    let kvHead = (head - params.nHeads) % params.nKvHeads;
    let at = (rowTable[row].z * params.nKvHeads + kvHead) * params.dHead;
    if (isValue) {
      values[at + first] = x;
      values[at + second] = y;
    } else {
      keys[at + first] = x;
      keys[at + second] = y;
    }
  }
}
