// Of each query and head what its gradients need of all its keys: (log of the sum of exp(score) over the keys it sees, sum of
// pattern * dPattern, which is dz · z, ALiBi slope, position).
// rows: (row, sequence, position, 1) by blocks of ROWS rows of one sequence, ascending; a block that is not full repeats its last
// row with a 0. Grid: x = blocks, y = nHeads.

@group(1) @binding(0) var<storage, read> rows: array<vec4<u32>>;
@group(1) @binding(2) var<storage, read> alibiSlopes: array<f32>;
@group(1) @binding(3) var<storage, read> queries: array<vec4<f32>>;
@group(1) @binding(4) var<storage, read> keys: array<vec4<f32>>;
@group(1) @binding(5) var<storage, read> dz: array<vec4<f32>>;
@group(1) @binding(6) var<storage, read> z: array<vec4<f32>>;
@group(1) @binding(7) var<storage, read_write> statistics: array<vec4<f32>>;

const HIDDEN = -3.0e38;

var<workgroup> keyTile: array<array<vec4<f32>, D4>, TILE>;
// (largest score, sum of exp(score - largest)) of each invocation.
var<workgroup> parts: array<vec2<f32>, THREADS>;

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
    slope = alibiSlopes[head];
  }
  var query: array<vec4<f32>, D4>;
  for (var d = 0u; d < dHead4; d++) {
    query[d] = queries[(entry.x * params.queryStride + head * params.dHead) / 4u + d];
  }
  var largest = HIDDEN;
  var total = 0.0;
  let last = lastVisible(sequence, rows[group.x * ROWS + ROWS - 1u].z);
  for (var start = firstVisible(rows[group.x * ROWS].z); start <= last; start += TILE) {
    for (var i = thread; i < TILE * D4; i += THREADS) {
      keyTile[i / D4][i % D4] = keys[kvIndex(sequence, min(start + i / D4, last), kvHead) * D4 + i % D4];
    }
    workgroupBarrier();
    for (var j = 4u * lane; j < TILE; j += 4u * SHARE) {
      var products = vec4<f32>();
      for (var d = 0u; d < dHead4; d++) {
        let own = query[d];
        products += vec4<f32>(
          dot(own, keyTile[j][d]),
          dot(own, keyTile[j + 1u][d]),
          dot(own, keyTile[j + 2u][d]),
          dot(own, keyTile[j + 3u][d]),
        );
      }
      let key = start + j + FOUR_ON;
      let visible = sees(vec4<u32>(position), key) & (key <= vec4<u32>(last));
      let bias = slope * (vec4<f32>(key) - f32(position));
      let scores = select(vec4<f32>(HIDDEN), cappedScores(products) + bias, visible);
      let newLargest = max(largest, max(max(scores.x, scores.y), max(scores.z, scores.w)));
      let weights = select(vec4<f32>(), exp(scores - newLargest), visible);
      total = total * exp(largest - newLargest) + dot(weights, vec4<f32>(1.0));
      largest = newLargest;
    }
    workgroupBarrier();
  }
  let at = entry.x * params.nHeads + head;
  parts[thread] = vec2<f32>(largest, total);
  workgroupBarrier();
  if (lane == 0u && entry.w == 1u) {
    for (var i = 1u; i < SHARE; i++) {
      let other = parts[thread + i];
      let newLargest = max(largest, other.x);
      total = total * exp(largest - newLargest) + other.y * exp(other.x - newLargest);
      largest = newLargest;
    }
    // In the order of dz · v in what reads it: where a query sees one key, its gradient is zero to the bit.
    var along = 0.0;
    for (var d = 0u; d < dHead4; d++) {
      along += dot(dz[at * dHead4 + d], z[at * dHead4 + d]);
    }
    statistics[at] = vec4<f32>(largest + log(total), along, slope, f32(position));
  }
}
