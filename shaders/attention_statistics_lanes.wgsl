// The same as attention_statistics_tile.wgsl for narrow heads, on CPUs that have subgroups: each invocation keeps four queries
// and the gradients of their results in registers, dimension by dimension, and a subgroup walks the keys, LANES at a time:
// each is read once by one invocation, and broadcast. See attention_key_gradient_lanes.wgsl, which says what that gains.
// Grid: x = blocks of 4 LANES rows, y = nHeads.

enable subgroups;

@group(1) @binding(0) var<storage, read> rows: array<vec4<u32>>;
@group(1) @binding(2) var<storage, read> headNumbers: array<f32>;
@group(1) @binding(3) var<storage, read> queries: array<vec4<f32>>;
@group(1) @binding(4) var<storage, read> keys: array<vec4<f32>>;
@group(1) @binding(5) var<storage, read> values: array<vec4<f32>>;
@group(1) @binding(6) var<storage, read> dz: array<vec4<f32>>;
@group(1) @binding(7) var<storage, read_write> statistics: array<vec4<f32>>;

const HIDDEN = -3.0e38;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
  let block = group.x * 4u * LANES;
  let next = (lane + 1u) % LANES;
  let head = group.y;
  let kvHead = kvHeadOf(head);
  let sequence = rows[block].y;
  var slope = 0.0;
  if (HAS_ALIBI) {
    slope = headNumbers[head];
  }
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
  // Dimension by dimension, of four rows.
  var q: array<vec4<f32>, 4u * D4>;
  var g: array<vec4<f32>, 4u * D4>;
  for (var d = 0u; d < D4; d++) {
    let ownQ = transpose(mat4x4<f32>(queries[queryAt.x + d], queries[queryAt.y + d], queries[queryAt.z + d], queries[queryAt.w + d]));
    let ownG = transpose(mat4x4<f32>(dz[gradAt.x + d], dz[gradAt.y + d], dz[gradAt.z + d], dz[gradAt.w + d]));
    for (var c = 0u; c < FOUR; c++) {
      q[4u * d + c] = ownQ[c];
      g[4u * d + c] = ownG[c];
    }
  }
  var total = vec4<f32>();
  var along = vec4<f32>();
  var largest = vec4<f32>(HIDDEN);
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
        k[d] = subgroupShuffle(k[d], next);
        v[d] = subgroupShuffle(v[d], next);
      }
      let key = first + l;
      let visible = sees(position, vec4<u32>(key));
      let bias = alibiBias(vec4<f32>(slope), vec4<f32>(f32(key)), vec4<f32>(position));
      let score = select(vec4<f32>(HIDDEN), cappedScores(product) + bias, visible);
      let most = max(largest, score);
      let correction = exp(largest - most);
      let weight = select(vec4<f32>(), exp(score - most), visible);
      total = fma(total, correction, weight);
      along = fma(along, correction, weight * dPattern);
      largest = most;
    }
  }
  for (var c = 0u; c < FOUR; c++) {
    if (isReal[c] == 1u) {
      let divisor = withSink(total[c], headNumbers[head], largest[c]);
      statistics[entryAt[c]] = vec4<f32>(largest[c] + log(divisor), along[c] / divisor, slope, f32(position[c]));
    }
  }
}
