// What queries give back to keys: out[key row, kvHead] = sum over the query rows that see the key, and over the heads that
// read this key-value head, of weights[query row, head, key] * x[query row, head].
// With pattern and dz it is the gradient of values, with the scores' gradient and q that of keys.
//
// groups: up to four keys that lie together: (first key row, its position, first and end of the query rows), and `counts` how
// many keys. Four keys share what is read of x: 33 against 262 ms on SwiftShader for 8 times 128 rows of 4 heads of 64.
// One invocation four dimensions of four keys. Grid: x = ceil(groupCount * nKvHeads * dHead / 4 / 64), folded into y.

struct Params {
  groupCount: u32,
  nHeads: u32,
  nKvHeads: u32,
  dHead: u32,
  start: u32, // of x, and the elements from one of its rows to the next
  rowStride: u32,
  keyCount: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> groups: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> counts: array<u32>;
@group(1) @binding(2) var<storage, read> weights: array<f32>;
@group(1) @binding(3) var<storage, read> x: array<vec4<f32>>;
@group(1) @binding(4) var<storage, read_write> out: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  let width = params.dHead / 4u;
  if (index >= params.groupCount * params.nKvHeads * width) {
    return;
  }
  let d = index % width;
  let kvHead = (index / width) % params.nKvHeads;
  let place = index / width / params.nKvHeads;
  let keys = groups[place];
  let last = counts[place] - 1u;
  // Keys beyond the group's last read its weight again and are not written.
  let offsets = min(vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(last));
  let sharing = params.nHeads / params.nKvHeads;
  var sum0 = vec4<f32>();
  var sum1 = vec4<f32>();
  var sum2 = vec4<f32>();
  var sum3 = vec4<f32>();
  for (var row = keys.z; row < keys.w; row++) {
    for (var head = kvHead * sharing; head < (kvHead + 1u) * sharing; head++) {
      let at = (row * params.nHeads + head) * params.keyCount + keys.y;
      let value = x[(params.start + row * params.rowStride) / 4u + head * width + d];
      sum0 = fma(vec4<f32>(weights[at]), value, sum0);
      sum1 = fma(vec4<f32>(weights[at + offsets.y]), value, sum1);
      sum2 = fma(vec4<f32>(weights[at + offsets.z]), value, sum2);
      sum3 = fma(vec4<f32>(weights[at + offsets.w]), value, sum3);
    }
  }
  let stride = params.nKvHeads * width;
  let first = keys.x * stride + kvHead * width + d;
  out[first] = sum0;
  if (last > 0u) {
    out[first + stride] = sum1;
  }
  if (last > 1u) {
    out[first + 2u * stride] = sum2;
  }
  if (last > 2u) {
    out[first + 3u * stride] = sum3;
  }
}
