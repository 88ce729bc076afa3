// The same as attention_statistics_tile.wgsl by outer products in registers, for CPUs that have subgroups: see
// attention_broadcast_rows.wgsl, whose walk this is. An invocation scores four keys for all rows of the block.
// PER: vec4 of a head that an invocation keeps, of D4 in all. PARTS: queries it reads. A workgroup is one subgroup.
// Grid: x = blocks, y = nHeads.

enable subgroups;

@group(1) @binding(0) var<storage, read> rows: array<vec4<u32>>;
@group(1) @binding(2) var<storage, read> alibiSlopes: array<f32>;
@group(1) @binding(3) var<storage, read> queries: array<vec4<f32>>;
@group(1) @binding(4) var<storage, read> keys: array<vec4<f32>>;
@group(1) @binding(5) var<storage, read> dz: array<vec4<f32>>;
@group(1) @binding(6) var<storage, read> z: array<vec4<f32>>;
@group(1) @binding(7) var<storage, read_write> statistics: array<vec4<f32>>;

const HIDDEN = -3.0e38;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
  let block = group.x * ROWS;
  let head = group.y;
  let kvHead = kvHeadOf(head);
  let dHead4 = params.dHead / 4u; // D4, but no constant
  let sequence = rows[block].y;
  var slope = 0.0;
  if (HAS_ALIBI) {
    slope = alibiSlopes[head];
  }
  var queryAt: array<u32, PARTS>;
  for (var p = 0u; p < PARTS; p++) {
    queryAt[p] = (rows[block + p * LANES + lane].x * params.queryStride + head * params.dHead) / 4u;
  }
  var totals: array<f32, ROWS>;
  var largest: array<f32, ROWS>;
  for (var r = 0u; r < ROWS; r++) {
    largest[r] = HIDDEN;
  }
  let last = lastVisible(sequence, rows[block + ROWS - 1u].z);
  for (var first = firstVisible(rows[block].z); first <= last; first += 4u * LANES) {
    let key = first + 4u * lane + vec4<u32>(0u, 1u, 2u, 3u);
    var at: vec4<u32>;
    for (var c = 0u; c < 4u; c++) {
      at[c] = kvIndex(sequence, min(key[c], last), kvHead) * D4;
    }
    var products: array<vec4<f32>, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
      products[r] = vec4<f32>();
    }
    for (var d = 0u; d < dHead4; d++) {
      let k = transpose(mat4x4<f32>(keys[at.x + d], keys[at.y + d], keys[at.z + d], keys[at.w + d]));
      for (var p = 0u; p < PARTS; p++) {
        let query = queries[queryAt[p] + d];
        for (var l = 0u; l < SHARE; l++) {
          products[p * LANES + l] = fma(vec4<f32>(subgroupBroadcast(query.x, l)), k[0], products[p * LANES + l]);
          products[p * LANES + l] = fma(vec4<f32>(subgroupBroadcast(query.y, l)), k[1], products[p * LANES + l]);
          products[p * LANES + l] = fma(vec4<f32>(subgroupBroadcast(query.z, l)), k[2], products[p * LANES + l]);
          products[p * LANES + l] = fma(vec4<f32>(subgroupBroadcast(query.w, l)), k[3], products[p * LANES + l]);
        }
      }
    }
    for (var r = 0u; r < ROWS; r++) {
      let position = rows[block + r].z;
      let visible = sees(vec4<u32>(position), key) & (key <= vec4<u32>(last));
      let bias = slope * (vec4<f32>(key) - f32(position));
      let scores = select(vec4<f32>(HIDDEN), cappedScores(products[r]) + bias, visible);
      let newLargest = max(largest[r], max(max(scores.x, scores.y), max(scores.z, scores.w)));
      let weights = select(vec4<f32>(), exp(scores - newLargest), visible);
      totals[r] = totals[r] * exp(largest[r] - newLargest) + dot(weights, vec4<f32>(1.0));
      largest[r] = newLargest;
    }
  }
  for (var p = 0u; p < PARTS; p++) {
    // In the order of dz · v in what reads it: where a query sees one key, its gradient is zero to the bit.
    let own = (rows[block + p * LANES + lane].x * params.nHeads + head) * dHead4;
    var along = 0.0;
    for (var d = 0u; d < dHead4; d++) {
      along = fma(dz[own + d].x, z[own + d].x, along);
      along = fma(dz[own + d].y, z[own + d].y, along);
      along = fma(dz[own + d].z, z[own + d].z, along);
      along = fma(dz[own + d].w, z[own + d].w, along);
    }
    for (var l = 0u; l < SHARE; l++) {
      let entry = rows[block + p * LANES + l];
      let most = subgroupMax(largest[p * LANES + l]);
      let total = subgroupAdd(totals[p * LANES + l] * exp(largest[p * LANES + l] - most));
      let sum = subgroupBroadcast(along, l);
      if (lane == 0u && entry.w == 1u) {
        statistics[entry.x * params.nHeads + head] = vec4<f32>(most + log(total), sum, slope, f32(entry.z));
      }
    }
  }
}
