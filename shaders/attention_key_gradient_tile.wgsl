// The gradients of keys and values: of every query that sees the key, and every head that reads its key-value head,
//   dk[key, kvHead] = sum of dScore q        dv[key, kvHead] = sum of pattern dz
// with dScore as in attention_query_gradient_tile.wgsl. Queries of a sequence lie together, and their heads are walked one by one.
// keyRows: by blocks of ROWS rows of one sequence, ascending, as attention_statistics_tile.wgsl has them.
// Grid: x = blocks, y = nKvHeads.

@group(1) @binding(0) var<storage, read> keyRows: array<KeyRow>;
@group(1) @binding(1) var<storage, read> statistics: array<vec4<f32>>;
@group(1) @binding(2) var<storage, read> queries: array<vec4<f32>>;
@group(1) @binding(3) var<storage, read> keys: array<vec4<f32>>;
@group(1) @binding(4) var<storage, read> values: array<vec4<f32>>;
@group(1) @binding(5) var<storage, read> dz: array<vec4<f32>>;
@group(1) @binding(6) var<storage, read_write> out: array<vec4<f32>>; // of a row dk, then dv

var<workgroup> queryTile: array<array<vec4<f32>, D4>, TILE>;
var<workgroup> gradTile: array<array<vec4<f32>, D4>, TILE>;
var<workgroup> statisticsTile: array<vec4<f32>, TILE>;
var<workgroup> weightTile: array<array<vec2<f32>, TILE>, ROWS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let own = thread / SHARE;
  let lane = thread % SHARE;
  let entry = keyRows[group.x * ROWS + own];
  let kvHead = group.y;
  let sharing = params.nHeads / params.nKvHeads;
  let dHead4 = params.dHead / 4u; // D4, but no constant
  var key: array<vec4<f32>, D4>;
  var value: array<vec4<f32>, D4>;
  for (var d = 0u; d < dHead4; d++) {
    key[d] = keys[(entry.slot * params.nKvHeads + kvHead) * dHead4 + d];
    value[d] = values[(entry.slot * params.nKvHeads + kvHead) * dHead4 + d];
  }
  var keySums: array<vec4<f32>, OWN4>;
  var valueSums: array<vec4<f32>, OWN4>;
  let end = keyRows[group.x * ROWS].endQuery * sharing;
  for (var start = keyRows[group.x * ROWS].firstQuery * sharing; start < end; start += TILE) {
    for (var i = thread; i < TILE * D4; i += THREADS) {
      let index = min(start + i / D4, end - 1u);
      let row = index / sharing;
      let head = kvHead * sharing + index % sharing;
      queryTile[i / D4][i % D4] = queries[(row * params.queryStride + head * params.dHead) / 4u + i % D4];
      gradTile[i / D4][i % D4] = dz[(row * params.nHeads + head) * D4 + i % D4];
      if (i % D4 == 0u) {
        statisticsTile[i / D4] = statistics[row * params.nHeads + head];
      }
    }
    workgroupBarrier();
    for (var j = 4u * lane; j < TILE; j += 4u * SHARE) {
      var products = vec4<f32>();
      var dPatterns = vec4<f32>();
      for (var d = 0u; d < dHead4; d++) {
        let k = key[d];
        products += vec4<f32>(
          dot(k, queryTile[j][d]),
          dot(k, queryTile[j + 1u][d]),
          dot(k, queryTile[j + 2u][d]),
          dot(k, queryTile[j + 3u][d]),
        );
        let v = value[d];
        dPatterns += vec4<f32>(
          dot(v, gradTile[j][d]),
          dot(v, gradTile[j + 1u][d]),
          dot(v, gradTile[j + 2u][d]),
          dot(v, gradTile[j + 3u][d]),
        );
      }
      let known = transpose(
        mat4x4<f32>(statisticsTile[j], statisticsTile[j + 1u], statisticsTile[j + 2u], statisticsTile[j + 3u]),
      );
      let bias = alibiBias(known[2], vec4<f32>(f32(entry.position)), known[3]);
      let weights = weightsOf(products, dPatterns, known[0], known[1], bias);
      let isQuery = start + j + FOUR_ON < vec4<u32>(end);
      let visible = sees(vec4<u32>(known[3]), vec4<u32>(entry.position)) & isQuery;
      let pattern = select(vec4<f32>(), weights.pattern, visible);
      let dScore = select(vec4<f32>(), weights.dScore, visible);
      for (var i = 0u; i < 4u; i++) {
        weightTile[own][j + i] = vec2<f32>(pattern[i], dScore[i]);
      }
    }
    if (SHARE > 1u) {
      workgroupBarrier();
    }
    let count = min(TILE, end - start);
    for (var d = lane; d < dHead4; d += SHARE) {
      var keySum = keySums[d / SHARE];
      var valueSum = valueSums[d / SHARE];
      for (var j = 0u; j < count; j++) {
        let weights = weightTile[own][j];
        keySum = fma(vec4<f32>(weights.y), queryTile[j][d], keySum);
        valueSum = fma(vec4<f32>(weights.x), gradTile[j][d], valueSum);
      }
      keySums[d / SHARE] = keySum;
      valueSums[d / SHARE] = valueSum;
    }
    workgroupBarrier();
  }
  if (entry.isReal == 1u) {
    let at = (params.gradStart + entry.row * params.gradStride) / 4u + kvHead * dHead4;
    for (var d = lane; d < dHead4; d += SHARE) {
      out[at + d] = keySums[d / SHARE];
      out[at + params.nKvHeads * dHead4 + d] = valueSums[d / SHARE];
    }
  }
}
