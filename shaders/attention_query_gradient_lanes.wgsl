// The same as attention_query_gradient_tile.wgsl for narrow heads, on CPUs that have subgroups: each invocation keeps four
// queries in registers, and the keys go round. See attention_key_gradient_lanes.wgsl.
// Grid: x = blocks of 4 LANES rows, y = nHeads.

enable subgroups;

@group(1) @binding(0) var<storage, read> rows: array<vec4<u32>>;
@group(1) @binding(2) var<storage, read> statistics: array<vec4<f32>>;
@group(1) @binding(3) var<storage, read> queries: array<vec4<f32>>;
@group(1) @binding(4) var<storage, read> keys: array<vec4<f32>>;
@group(1) @binding(5) var<storage, read> values: array<vec4<f32>>;
@group(1) @binding(6) var<storage, read> dz: array<vec4<f32>>;
@group(1) @binding(7) var<storage, read_write> dq: array<vec4<f32>>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
  let block = group.x * 4u * LANES;
  let next = (lane + 1u) % LANES;
  let head = group.y;
  let kvHead = kvHeadOf(head);
  let sequence = rows[block].y;
  var row: vec4<u32>;
  var position: vec4<u32>;
  var isReal: vec4<u32>;
  for (var c = 0u; c < FOUR; c++) {
    let entry = rows[block + 4u * lane + c];
    row[c] = entry.x;
    position[c] = entry.z;
    isReal[c] = entry.w;
  }
  let queryAt = (row * params.queryStride + head * params.dHead) / 4u;
  let entryAt = row * params.nHeads + head;
  let gradAt = entryAt * D4;
  let known = transpose(
    mat4x4<f32>(statistics[entryAt.x], statistics[entryAt.y], statistics[entryAt.z], statistics[entryAt.w]),
  );
  // Dimension by dimension, of four rows.
  var q: array<vec4<f32>, 4u * D4>;
  var g: array<vec4<f32>, 4u * D4>;
  var sums: array<vec4<f32>, 4u * D4>;
  for (var d = 0u; d < D4; d++) {
    let ownQ = transpose(mat4x4<f32>(queries[queryAt.x + d], queries[queryAt.y + d], queries[queryAt.z + d], queries[queryAt.w + d]));
    let ownG = transpose(mat4x4<f32>(dz[gradAt.x + d], dz[gradAt.y + d], dz[gradAt.z + d], dz[gradAt.w + d]));
    for (var c = 0u; c < FOUR; c++) {
      q[4u * d + c] = ownQ[c];
      g[4u * d + c] = ownG[c];
      sums[4u * d + c] = vec4<f32>();
    }
  }
  let last = lastVisible(sequence, rows[block + 4u * LANES - 1u].z);
  for (var first = firstVisible(rows[block].z); first <= last; first += LANES) {
    let at = kvIndex(sequence, min(first + lane, last), kvHead) * D4;
    var k: array<vec4<f32>, D4>;
    var v: array<vec4<f32>, D4>;
    for (var d = 0u; d < D4; d++) {
      k[d] = keys[at + d];
      v[d] = values[at + d];
    }
    let count = min(LANES, last + 1u - first);
    for (var l = 0u; l < count; l++) {
      var product = vec4<f32>();
      var dPattern = vec4<f32>();
      for (var d = 0u; d < D4; d++) {
        for (var c = 0u; c < FOUR; c++) {
          product = fma(vec4<f32>(subgroupBroadcast(k[d][c], 0u)), q[4u * d + c], product);
          dPattern = fma(vec4<f32>(subgroupBroadcast(v[d][c], 0u)), g[4u * d + c], dPattern);
        }
      }
      let key = first + l;
      let visible = sees(position, vec4<u32>(key));
      let weights = weightsOf(product, dPattern, known[0], known[1], alibiBias(known[2], vec4<f32>(f32(key)), known[3]));
      let dScore = select(vec4<f32>(), weights.dScore, visible);
      for (var d = 0u; d < D4; d++) {
        for (var c = 0u; c < FOUR; c++) {
          sums[4u * d + c] = fma(vec4<f32>(subgroupBroadcast(k[d][c], 0u)), dScore, sums[4u * d + c]);
        }
        k[d] = subgroupShuffle(k[d], next);
        v[d] = subgroupShuffle(v[d], next);
      }
    }
  }
  let to = (params.gradStart + row * params.gradStride) / 4u + head * D4;
  for (var d = 0u; d < D4; d++) {
    let own = transpose(mat4x4<f32>(sums[4u * d], sums[4u * d + 1u], sums[4u * d + 2u], sums[4u * d + 3u]));
    for (var c = 0u; c < FOUR; c++) {
      if (isReal[c] == 1u) {
        dq[to[c] + d] = own[c];
      }
    }
  }
}
