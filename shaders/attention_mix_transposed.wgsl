// What queries give back to a key: out[key row, kvHead] = sum over the query rows of its sequence, and over the heads that
// read this key-value head, of weights[query row, head, key] * x[query row, head].
// With pattern and dz it is the gradient of values, with the scores' gradient and q that of keys.
// keys: for each key row its position, and the first and the end of the query rows of its sequence.
// One invocation four dimensions of a key-value head. Grid: x = ceil(rowCount * nKvHeads * dHead / 4 / 64), folded into y.

struct Params {
  rowCount: u32,
  nHeads: u32,
  nKvHeads: u32,
  dHead: u32,
  start: u32, // of x, and the elements from one of its rows to the next
  rowStride: u32,
  keyCount: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> keys: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> weights: array<f32>;
@group(1) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(1) @binding(3) var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  let width = params.dHead / 4u;
  if (index >= params.rowCount * params.nKvHeads * width) {
    return;
  }
  let d = index % width;
  let kvHead = (index / width) % params.nKvHeads;
  let key = keys[index / width / params.nKvHeads];
  let sharing = params.nHeads / params.nKvHeads;
  var sum = vec4<f32>();
  for (var row = key.y; row < key.z; row++) {
    for (var head = kvHead * sharing; head < (kvHead + 1u) * sharing; head++) {
      let weight = weights[(row * params.nHeads + head) * params.keyCount + key.x];
      sum = fma(vec4<f32>(weight), x[(params.start + row * params.rowStride) / 4u + head * width + d], sum);
    }
  }
  out[index] = sum;
}
