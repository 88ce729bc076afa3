// The same as attention_query_gradient_tile.wgsl by outer products in registers, for CPUs that have subgroups: see
// attention_broadcast_rows.wgsl, whose walk this is. An invocation takes four keys for all rows of the
// block, and then adds up all keys for its own dimensions of the head.
// PER: vec4 of a head that an invocation keeps, of D4 in all. PARTS: queries it reads. A workgroup is one subgroup.
// Grid: x = blocks, y = nHeads.

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
  let block = group.x * ROWS;
  let head = group.y;
  let kvHead = kvHeadOf(head);
  let dHead4 = params.dHead / 4u; // D4, but no constant
  let sequence = rows[block].y;
  var queryAt: array<u32, PARTS>;
  var gradAt: array<u32, PARTS>;
  for (var p = 0u; p < PARTS; p++) {
    let row = rows[block + p * LANES + lane].x;
    queryAt[p] = (row * params.queryStride + head * params.dHead) / 4u;
    gradAt[p] = (row * params.nHeads + head) * dHead4;
  }
  var sums: array<vec4<f32>, ROWS * PER>;
  let last = lastVisible(sequence, rows[block + ROWS - 1u].z);
  for (var first = firstVisible(rows[block].z); first <= last; first += 4u * LANES) {
    let key = first + 4u * lane + vec4<u32>(0u, 1u, 2u, 3u);
    var at: vec4<u32>;
    for (var c = 0u; c < 4u; c++) {
      at[c] = kvIndex(sequence, min(key[c], last), kvHead) * D4;
    }
    var products: array<vec4<f32>, ROWS>;
    var dPatterns: array<vec4<f32>, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
      products[r] = vec4<f32>();
      dPatterns[r] = vec4<f32>();
    }
    for (var d = 0u; d < dHead4; d++) {
      let k = transpose(mat4x4<f32>(keys[at.x + d], keys[at.y + d], keys[at.z + d], keys[at.w + d]));
      let v = transpose(mat4x4<f32>(values[at.x + d], values[at.y + d], values[at.z + d], values[at.w + d]));
      for (var p = 0u; p < PARTS; p++) {
        let q = queries[queryAt[p] + d];
        let g = dz[gradAt[p] + d];
        for (var l = 0u; l < SHARE; l++) {
          products[p * LANES + l] = fma(vec4<f32>(subgroupBroadcast(q.x, l)), k[0], products[p * LANES + l]);
          products[p * LANES + l] = fma(vec4<f32>(subgroupBroadcast(q.y, l)), k[1], products[p * LANES + l]);
          products[p * LANES + l] = fma(vec4<f32>(subgroupBroadcast(q.z, l)), k[2], products[p * LANES + l]);
          products[p * LANES + l] = fma(vec4<f32>(subgroupBroadcast(q.w, l)), k[3], products[p * LANES + l]);
          dPatterns[p * LANES + l] = fma(vec4<f32>(subgroupBroadcast(g.x, l)), v[0], dPatterns[p * LANES + l]);
          dPatterns[p * LANES + l] = fma(vec4<f32>(subgroupBroadcast(g.y, l)), v[1], dPatterns[p * LANES + l]);
          dPatterns[p * LANES + l] = fma(vec4<f32>(subgroupBroadcast(g.z, l)), v[2], dPatterns[p * LANES + l]);
          dPatterns[p * LANES + l] = fma(vec4<f32>(subgroupBroadcast(g.w, l)), v[3], dPatterns[p * LANES + l]);
        }
      }
    }
    for (var r = 0u; r < ROWS; r++) {
      let entry = rows[block + r];
      let known = statistics[entry.x * params.nHeads + head];
      let bias = alibiBias(vec4<f32>(known.z), vec4<f32>(key), vec4<f32>(known.w));
      let weights = weightsOf(products[r], dPatterns[r], vec4<f32>(known.x), vec4<f32>(known.y), bias);
      let visible = sees(vec4<u32>(entry.z), key) & (key <= vec4<u32>(last));
      products[r] = select(vec4<f32>(), weights.dScore, visible);
    }
    let holders = min(LANES, (last - first) / 4u + 1u);
    for (var l = 0u; l < holders; l++) {
      for (var c = 0u; c < FOUR; c++) {
        let keyAt = subgroupShuffle(at[c], l);
        var k: array<vec4<f32>, PER>;
        for (var p = 0u; p < PER; p++) {
          k[p] = keys[keyAt + min(p * LANES + lane, D4 - 1u)];
        }
        for (var r = 0u; r < ROWS; r++) {
          let weight = vec4<f32>(subgroupShuffle(products[r][c], l));
          for (var p = 0u; p < PER; p++) {
            sums[r * PER + p] = fma(weight, k[p], sums[r * PER + p]);
          }
        }
      }
    }
  }
  for (var r = 0u; r < ROWS; r++) {
    let entry = rows[block + r];
    for (var p = 0u; p < PER; p++) {
      let d = p * LANES + lane;
      if (entry.w == 1u && d < D4) {
        dq[(params.gradStart + entry.x * params.gradStride) / 4u + head * D4 + d] = sums[r * PER + p];
      }
    }
  }
}
