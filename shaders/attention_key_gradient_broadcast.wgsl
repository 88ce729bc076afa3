// The same as attention_key_gradient_tile.wgsl by outer products in registers, for CPUs that have subgroups: see
// attention_broadcast_rows.wgsl, whose walk this is. An invocation takes four queries for all keys of the
// block, and then adds up all queries for its own dimensions of the head.
// PER: vec4 of a head that an invocation keeps, of D4 in all. PARTS: keys it reads. A workgroup is one subgroup.
// Grid: x = blocks, y = nKvHeads.

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
  let block = group.x * ROWS;
  let kvHead = group.y;
  let sharing = params.nHeads / params.nKvHeads;
  let dHead4 = params.dHead / 4u; // D4, but no constant
  var keyAt: array<u32, PARTS>;
  for (var p = 0u; p < PARTS; p++) {
    keyAt[p] = (keyRows[block + p * LANES + lane].slot * params.nKvHeads + kvHead) * dHead4;
  }
  var keySums: array<vec4<f32>, ROWS * PER>;
  var valueSums: array<vec4<f32>, ROWS * PER>;
  let end = keyRows[block].endQuery * sharing;
  for (var first = keyRows[block].firstQuery * sharing; first < end; first += 4u * LANES) {
    // Queries past the end repeat the last one, and are hidden.
    let index = first + 4u * lane + vec4<u32>(0u, 1u, 2u, 3u);
    let own = min(index, vec4<u32>(end - 1u));
    let row = own / sharing;
    let head = kvHead * sharing + own % sharing;
    let queryAt = (row * params.queryStride + head * params.dHead) / 4u;
    let entry = row * params.nHeads + head;
    let gradAt = entry * dHead4;
    let known = transpose(
      mat4x4<f32>(statistics[entry.x], statistics[entry.y], statistics[entry.z], statistics[entry.w]),
    );
    var products: array<vec4<f32>, ROWS>;
    var dPatterns: array<vec4<f32>, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
      products[r] = vec4<f32>();
      dPatterns[r] = vec4<f32>();
    }
    for (var d = 0u; d < dHead4; d++) {
      let q = transpose(
        mat4x4<f32>(queries[queryAt.x + d], queries[queryAt.y + d], queries[queryAt.z + d], queries[queryAt.w + d]),
      );
      let g = transpose(mat4x4<f32>(dz[gradAt.x + d], dz[gradAt.y + d], dz[gradAt.z + d], dz[gradAt.w + d]));
      for (var p = 0u; p < PARTS; p++) {
        let k = keys[keyAt[p] + d];
        let v = values[keyAt[p] + d];
        for (var l = 0u; l < SHARE; l++) {
          products[p * LANES + l] = fma(vec4<f32>(subgroupBroadcast(k.x, l)), q[0], products[p * LANES + l]);
          products[p * LANES + l] = fma(vec4<f32>(subgroupBroadcast(k.y, l)), q[1], products[p * LANES + l]);
          products[p * LANES + l] = fma(vec4<f32>(subgroupBroadcast(k.z, l)), q[2], products[p * LANES + l]);
          products[p * LANES + l] = fma(vec4<f32>(subgroupBroadcast(k.w, l)), q[3], products[p * LANES + l]);
          dPatterns[p * LANES + l] = fma(vec4<f32>(subgroupBroadcast(v.x, l)), g[0], dPatterns[p * LANES + l]);
          dPatterns[p * LANES + l] = fma(vec4<f32>(subgroupBroadcast(v.y, l)), g[1], dPatterns[p * LANES + l]);
          dPatterns[p * LANES + l] = fma(vec4<f32>(subgroupBroadcast(v.z, l)), g[2], dPatterns[p * LANES + l]);
          dPatterns[p * LANES + l] = fma(vec4<f32>(subgroupBroadcast(v.w, l)), g[3], dPatterns[p * LANES + l]);
        }
      }
    }
    for (var r = 0u; r < ROWS; r++) {
      let position = keyRows[block + r].position;
      let bias = alibiBias(known[2], vec4<f32>(f32(position)), known[3]);
      let weights = weightsOf(products[r], dPatterns[r], known[0], known[1], bias);
      let visible = sees(vec4<u32>(known[3]), vec4<u32>(position)) & (index < vec4<u32>(end));
      products[r] = select(vec4<f32>(), weights.dScore, visible);
      dPatterns[r] = select(vec4<f32>(), weights.pattern, visible);
    }
    let holders = min(LANES, (end - 1u - first) / 4u + 1u);
    for (var l = 0u; l < holders; l++) {
      for (var c = 0u; c < FOUR; c++) {
        let fromQuery = subgroupShuffle(queryAt[c], l);
        let fromGrad = subgroupShuffle(gradAt[c], l);
        var q: array<vec4<f32>, PER>;
        var g: array<vec4<f32>, PER>;
        for (var p = 0u; p < PER; p++) {
          q[p] = queries[fromQuery + min(p * LANES + lane, D4 - 1u)];
          g[p] = dz[fromGrad + min(p * LANES + lane, D4 - 1u)];
        }
        for (var r = 0u; r < ROWS; r++) {
          let dScore = vec4<f32>(subgroupShuffle(products[r][c], l));
          let pattern = vec4<f32>(subgroupShuffle(dPatterns[r][c], l));
          for (var p = 0u; p < PER; p++) {
            keySums[r * PER + p] = fma(dScore, q[p], keySums[r * PER + p]);
            valueSums[r * PER + p] = fma(pattern, g[p], valueSums[r * PER + p]);
          }
        }
      }
    }
  }
  for (var r = 0u; r < ROWS; r++) {
    let entry = keyRows[block + r];
    for (var p = 0u; p < PER; p++) {
      let d = p * LANES + lane;
      if (entry.isReal == 1u && d < D4) {
        let at = (params.gradStart + entry.row * params.gradStride) / 4u + kvHead * D4 + d;
        out[at] = keySums[r * PER + p];
        out[at + params.nKvHeads * D4] = valueSums[r * PER + p];
      }
    }
  }
}
