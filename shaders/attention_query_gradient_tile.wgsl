// The gradient of queries: dq[row, head] = sum over the keys it sees of dScore k, where dScore = scale * slope of the soft cap *
// pattern * (dz · v - sum of pattern * dPattern).
// rows: as attention_statistics_tile.wgsl has them. Grid: x = blocks, y = nHeads.

@group(1) @binding(0) var<storage, read> rows: array<vec4<u32>>;
@group(1) @binding(2) var<storage, read> statistics: array<vec4<f32>>;
@group(1) @binding(3) var<storage, read> queries: array<vec4<f32>>;
@group(1) @binding(4) var<storage, read> keys: array<vec4<f32>>;
@group(1) @binding(5) var<storage, read> values: array<vec4<f32>>;
@group(1) @binding(6) var<storage, read> dz: array<vec4<f32>>;
@group(1) @binding(7) var<storage, read_write> dq: array<vec4<f32>>;

var<workgroup> keyTile: array<array<vec4<f32>, D4>, TILE>;
var<workgroup> valueTile: array<array<vec4<f32>, D4>, TILE>;
var<workgroup> weightTile: array<array<f32, TILE>, ROWS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let own = thread / SHARE;
  let lane = thread % SHARE;
  let entry = rows[group.x * ROWS + own];
  let sequence = rows[group.x * ROWS].y;
  let head = group.y;
  let kvHead = kvHeadOf(head);
  let dHead4 = params.dHead / 4u; // D4, but no constant
  let at = entry.x * params.nHeads + head;
  let known = statistics[at];
  var query: array<vec4<f32>, D4>;
  var grad: array<vec4<f32>, D4>;
  for (var d = 0u; d < dHead4; d++) {
    query[d] = queries[(entry.x * params.queryStride + head * params.dHead) / 4u + d];
    grad[d] = dz[at * dHead4 + d];
  }
  var sums: array<vec4<f32>, OWN4>;
  let last = lastVisible(sequence, rows[group.x * ROWS + ROWS - 1u].z);
  for (var start = firstVisible(rows[group.x * ROWS].z); start <= last; start += TILE) {
    for (var i = thread; i < TILE * D4; i += THREADS) {
      let keyAt = kvIndex(sequence, min(start + i / D4, last), kvHead) * D4 + i % D4;
      keyTile[i / D4][i % D4] = keys[keyAt];
      valueTile[i / D4][i % D4] = values[keyAt];
    }
    workgroupBarrier();
    for (var j = 4u * lane; j < TILE; j += 4u * SHARE) {
      var products = vec4<f32>();
      var dPatterns = vec4<f32>();
      for (var d = 0u; d < dHead4; d++) {
        let q = query[d];
        products += vec4<f32>(
          dot(q, keyTile[j][d]),
          dot(q, keyTile[j + 1u][d]),
          dot(q, keyTile[j + 2u][d]),
          dot(q, keyTile[j + 3u][d]),
        );
        let g = grad[d];
        dPatterns += vec4<f32>(
          dot(g, valueTile[j][d]),
          dot(g, valueTile[j + 1u][d]),
          dot(g, valueTile[j + 2u][d]),
          dot(g, valueTile[j + 3u][d]),
        );
      }
      let key = start + j + FOUR_ON;
      let bias = alibiBias(vec4<f32>(known.z), vec4<f32>(key), vec4<f32>(known.w));
      let weights = weightsOf(products, dPatterns, vec4<f32>(known.x), vec4<f32>(known.y), bias);
      let visible = sees(vec4<u32>(entry.z), key) & (key <= vec4<u32>(last));
      let dScore = select(vec4<f32>(), weights.dScore, visible);
      for (var i = 0u; i < 4u; i++) {
        weightTile[own][j + i] = dScore[i];
      }
    }
    if (SHARE > 1u) {
      workgroupBarrier();
    }
    let count = min(TILE, last + 1u - start);
    for (var d = lane; d < dHead4; d += SHARE) {
      var sum = sums[d / SHARE];
      for (var j = 0u; j < count; j++) {
        sum = fma(vec4<f32>(weightTile[own][j]), keyTile[j][d], sum);
      }
      sums[d / SHARE] = sum;
    }
    workgroupBarrier();
  }
  if (entry.w == 1u) {
    let start = (params.gradStart + entry.x * params.gradStride) / 4u + head * dHead4;
    for (var d = lane; d < dHead4; d += SHARE) {
      dq[start + d] = sums[d / SHARE];
    }
  }
}
