// The same as attention_key_gradient_tile.wgsl for narrow heads, on CPUs that have subgroups. An invocation keeps four keys and
// values in registers, dimension by dimension, with their gradients; a subgroup walks the queries, LANES at a time:
// each is read once by one invocation, and broadcast. So all that is summed is an invocation's own, and nothing is shuffled.
//
// A load costs each invocation ten instructions (see matmul_broadcast.wgsl), so what matters is how often a vector is read.
// attention_key_gradient_broadcast.wgsl keeps 8 rows a subgroup, this has 4 LANES. But all dimensions of a head must be
// unrolled: for wide heads that compiles for many seconds.
// Grid: x = blocks of 4 LANES keys, y = nKvHeads.

enable subgroups;

@group(1) @binding(0) var<storage, read> keyRows: array<KeyRow>;
@group(1) @binding(1) var<storage, read> statistics: array<vec4<f32>>;
@group(1) @binding(2) var<storage, read> queries: array<vec4<f32>>;
@group(1) @binding(3) var<storage, read> keys: array<vec4<f32>>;
@group(1) @binding(4) var<storage, read> values: array<vec4<f32>>;
@group(1) @binding(5) var<storage, read> dz: array<vec4<f32>>;
@group(1) @binding(6) var<storage, read_write> out: array<vec4<f32>>; // of a row dk, then dv

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
  let block = group.x * 4u * LANES;
  let kvHead = group.y;
  let next = (lane + 1u) % LANES;
  let sharing = params.nHeads / params.nKvHeads;
  var at: vec4<u32>;
  var position: vec4<u32>;
  for (var c = 0u; c < FOUR; c++) {
    let entry = keyRows[block + 4u * lane + c];
    at[c] = (entry.slot * params.nKvHeads + kvHead) * D4;
    position[c] = entry.position;
  }
  // Dimension by dimension, of four keys.
  var k: array<vec4<f32>, 4u * D4>;
  var v: array<vec4<f32>, 4u * D4>;
  var dk: array<vec4<f32>, 4u * D4>;
  var dv: array<vec4<f32>, 4u * D4>;
  for (var d = 0u; d < D4; d++) {
    let ownK = transpose(mat4x4<f32>(keys[at.x + d], keys[at.y + d], keys[at.z + d], keys[at.w + d]));
    let ownV = transpose(mat4x4<f32>(values[at.x + d], values[at.y + d], values[at.z + d], values[at.w + d]));
    for (var c = 0u; c < FOUR; c++) {
      k[4u * d + c] = ownK[c];
      v[4u * d + c] = ownV[c];
      dk[4u * d + c] = vec4<f32>();
      dv[4u * d + c] = vec4<f32>();
    }
  }
  let end = keyRows[block].endQuery * sharing;
  for (var first = keyRows[block].firstQuery * sharing; first < end; first += LANES) {
    let index = min(first + lane, end - 1u);
    let row = index / sharing;
    let head = kvHead * sharing + index % sharing;
    let queryAt = (row * params.queryStride + head * params.dHead) / 4u;
    var known = statistics[row * params.nHeads + head];
    let gradAt = (row * params.nHeads + head) * D4;
    var q: array<vec4<f32>, D4>;
    var g: array<vec4<f32>, D4>;
    for (var d = 0u; d < D4; d++) {
      q[d] = queries[queryAt + d];
      g[d] = dz[gradAt + d];
    }
    let count = min(LANES, end - first);
    for (var l = 0u; l < count; l++) {
      var product = vec4<f32>();
      var dPattern = vec4<f32>();
      for (var d = 0u; d < D4; d++) {
        for (var c = 0u; c < FOUR; c++) {
          product = fma(vec4<f32>(subgroupBroadcast(q[d][c], 0u)), k[4u * d + c], product);
          dPattern = fma(vec4<f32>(subgroupBroadcast(g[d][c], 0u)), v[4u * d + c], dPattern);
        }
      }
      let its = subgroupBroadcast(known, 0u);
      let bias = alibiBias(vec4<f32>(its.z), vec4<f32>(position), vec4<f32>(its.w));
      let weights = weightsOf(product, dPattern, vec4<f32>(its.x), vec4<f32>(its.y), bias);
      let visible = sees(vec4<u32>(u32(its.w)), position);
      let dScore = select(vec4<f32>(), weights.dScore, visible);
      let pattern = select(vec4<f32>(), weights.pattern, visible);
      for (var d = 0u; d < D4; d++) {
        for (var c = 0u; c < FOUR; c++) {
          dk[4u * d + c] = fma(vec4<f32>(subgroupBroadcast(q[d][c], 0u)), dScore, dk[4u * d + c]);
          dv[4u * d + c] = fma(vec4<f32>(subgroupBroadcast(g[d][c], 0u)), pattern, dv[4u * d + c]);
        }
        q[d] = subgroupShuffle(q[d], next);
        g[d] = subgroupShuffle(g[d], next);
      }
      known = subgroupShuffle(known, next);
    }
  }
  for (var c = 0u; c < FOUR; c++) {
    let entry = keyRows[block + 4u * lane + c];
    if (entry.isReal == 1u) {
      let to = (params.gradStart + entry.row * params.gradStride) / 4u + kvHead * D4;
      for (var d = 0u; d < D4; d++) {
        out[to + d] = vec4<f32>(dk[4u * d][c], dk[4u * d + 1u][c], dk[4u * d + 2u][c], dk[4u * d + 3u][c]);
        out[to + params.nKvHeads * D4 + d] =
          vec4<f32>(dv[4u * d][c], dv[4u * d + 1u][c], dv[4u * d + 2u][c], dv[4u * d + 3u][c]);
      }
    }
  }
}
