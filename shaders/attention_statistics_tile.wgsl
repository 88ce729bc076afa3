// Of each query and head what its gradients need of all its keys: (log of the sum of exp(score) over the keys it sees, sum of
// pattern * dPattern, ALiBi slope, position). A sink counts among the keys of the first, and adds nothing to the second. The
// second is dz · z as well, but so it belongs to the very pattern and dPattern that the other kernels compute: the gradients
// of a query's scores add up to zero.
// rows: (row, sequence, position, 1) by blocks of ROWS rows of one sequence, ascending; a block that is not full repeats its last
// row with a 0. Grid: x = blocks, y = nHeads.

@group(1) @binding(0) var<storage, read> rows: array<vec4<u32>>;
@group(1) @binding(2) var<storage, read> headNumbers: array<f32>;
@group(1) @binding(3) var<storage, read> queries: array<vec4<f32>>;
@group(1) @binding(4) var<storage, read> keys: array<vec4<f32>>;
@group(1) @binding(5) var<storage, read> values: array<vec4<f32>>;
@group(1) @binding(6) var<storage, read> dz: array<vec4<f32>>;
@group(1) @binding(7) var<storage, read_write> statistics: array<vec4<f32>>;

const HIDDEN = -3.0e38;

var<workgroup> keyTile: array<array<vec4<f32>, D4>, TILE>;
var<workgroup> valueTile: array<array<vec4<f32>, D4>, TILE>;
// (largest score, sum of exp(score - largest), sum of that times dPattern) of each invocation.
var<workgroup> parts: array<vec3<f32>, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let lane = thread % SHARE;
  let entry = rows[group.x * ROWS + thread / SHARE];
  let sequence = rows[group.x * ROWS].y;
  let head = group.y;
  let kvHead = kvHeadOf(head);
  let dHead4 = params.dHead / 4u; // D4, but no constant
  let position = entry.z;
  var slope = 0.0;
  if (HAS_ALIBI) {
    slope = headNumbers[head];
  }
  let at = entry.x * params.nHeads + head;
  var query: array<vec4<f32>, D4>;
  var grad: array<vec4<f32>, D4>;
  for (var d = 0u; d < dHead4; d++) {
    query[d] = queries[(entry.x * params.queryStride + head * params.dHead) / 4u + d];
    grad[d] = dz[at * dHead4 + d];
  }
  var largest = HIDDEN;
  var total = 0.0;
  var along = 0.0;
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
      let visible = sees(vec4<u32>(position), key) & (key <= vec4<u32>(last));
      let bias = alibiBias(vec4<f32>(slope), vec4<f32>(key), vec4<f32>(f32(position)));
      let scores = select(vec4<f32>(HIDDEN), cappedScores(products) + bias, visible);
      let newLargest = max(largest, max(max(scores.x, scores.y), max(scores.z, scores.w)));
      let weights = select(vec4<f32>(), exp(scores - newLargest), visible);
      let correction = exp(largest - newLargest);
      total = total * correction + dot(weights, vec4<f32>(1.0));
      along = along * correction + dot(weights, dPatterns);
      largest = newLargest;
    }
    workgroupBarrier();
  }
  parts[thread] = vec3<f32>(largest, total, along);
  workgroupBarrier();
  if (lane == 0u && entry.w == 1u) {
    for (var i = 1u; i < SHARE; i++) {
      let other = parts[thread + i];
      let newLargest = max(largest, other.x);
      let correction = vec2<f32>(exp(largest - newLargest), exp(other.x - newLargest));
      total = total * correction.x + other.y * correction.y;
      along = along * correction.x + other.z * correction.y;
      largest = newLargest;
    }
    total = withSink(total, headNumbers[head], largest);
    statistics[at] = vec4<f32>(largest + log(total), along / total, slope, f32(position));
  }
}
