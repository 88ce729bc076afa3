// Attention of many rows for narrow heads, for adapters that run on a CPU and have subgroups: each invocation keeps four
// neighbouring rows of one head in registers, dimension by dimension, and a subgroup walks the keys, LANES at a time: each
// is read once by one invocation, and broadcast. So the running softmax and all sums are an invocation's own.
// attention_broadcast_rows.wgsl reads each key for 8 rows, this for 4 LANES; but all dimensions of a head are unrolled, which
// compiles for many seconds where heads are wide.
//
// 4 heads of 16, 32 sequences of 66 tokens, on lavapipe: 2.8 ms, where attention_broadcast_rows.wgsl takes 4.9.
//
// Rows of several sequences are taken one sequence after the other, and the others hidden meanwhile.
// Grid: x = ceil(rowCount / (4 LANES)), y = nHeads.

enable subgroups;

@group(1) @binding(3) var<storage, read> queries: array<vec4<f32>>;
@group(1) @binding(4) var<storage, read> keys: array<vec4<f32>>;
@group(1) @binding(5) var<storage, read> values: array<vec4<f32>>;
@group(1) @binding(6) var<storage, read_write> z: array<vec4<f32>>;

const HIDDEN = -3.0e38;

// A row of the block, or the last one in place of those after it: they are not stored.
fn rowOf(index: u32) -> u32 {
  return min(index, params.rowCount - 1u);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
  let next = (lane + 1u) % LANES;
  let head = group.y;
  let kvHead = kvHeadOf(head);
  let block = group.x * 4u * LANES;
  var row: vec4<u32>;
  var position: vec4<u32>;
  for (var c = 0u; c < FOUR; c++) {
    row[c] = rowOf(block + 4u * lane + c);
    position[c] = rowTable[row[c]].y;
  }
  let queryAt = (row * params.queryStride + head * params.dHead) / 4u;
  // Dimension by dimension, of four rows.
  var q: array<vec4<f32>, 4u * D4>;
  var sums: array<vec4<f32>, 4u * D4>;
  for (var d = 0u; d < D4; d++) {
    let own = transpose(
      mat4x4<f32>(queries[queryAt.x + d], queries[queryAt.y + d], queries[queryAt.z + d], queries[queryAt.w + d]),
    );
    for (var c = 0u; c < FOUR; c++) {
      q[4u * d + c] = own[c];
      sums[4u * d + c] = vec4<f32>();
    }
  }
  var total = vec4<f32>();
  var largest = vec4<f32>(HIDDEN);
  var end = 0u;
  for (var begin = 0u; begin < 4u * LANES; begin = end) {
    // Rows begin .. end - 1 are of one sequence.
    let walked = rowTable[rowOf(block + begin)].x;
    var firstKey = 0xffffffffu;
    var lastKey = 0u;
    for (end = begin; end < 4u * LANES; end++) {
      let entry = rowTable[rowOf(block + end)];
      if (entry.x != walked) {
        break;
      }
      firstKey = min(firstKey, firstVisible(entry.y));
      lastKey = max(lastKey, lastVisible(walked, entry.y));
    }
    for (var first = firstKey; first <= lastKey; first += LANES) {
      let at = kvIndex(walked, min(first + lane, lastKey), kvHead) * D4;
      var k: array<vec4<f32>, D4>;
      var v: array<vec4<f32>, D4>;
      for (var d = 0u; d < D4; d++) {
        k[d] = keys[at + d];
        v[d] = values[at + d];
      }
      let count = min(LANES, lastKey + 1u - first);
      for (var l = 0u; l < count; l++) {
        var product = vec4<f32>();
        for (var d = 0u; d < D4; d++) {
          for (var c = 0u; c < FOUR; c++) {
            product = fma(vec4<f32>(subgroupBroadcast(k[d][c], 0u)), q[4u * d + c], product);
          }
        }
        let key = first + l;
        var score = vec4<f32>(HIDDEN);
        var visible = vec4<bool>();
        for (var c = 0u; c < FOUR; c++) {
          let isRow = 4u * lane + c >= begin && 4u * lane + c < end;
          visible[c] = isRow && key <= lastVisible(walked, position[c]) && key >= firstVisible(position[c]);
          score[c] = select(HIDDEN, finishScore(product[c], head, position[c], key), visible[c]);
        }
        let most = max(largest, score);
        let correction = exp(largest - most);
        let weight = select(vec4<f32>(), exp(score - most), visible);
        largest = most;
        total = fma(total, correction, weight);
        for (var d = 0u; d < D4; d++) {
          for (var c = 0u; c < FOUR; c++) {
            let value = vec4<f32>(subgroupBroadcast(v[d][c], 0u));
            sums[4u * d + c] = fma(value, weight, sums[4u * d + c] * correction);
          }
          k[d] = subgroupShuffle(k[d], next);
          v[d] = subgroupShuffle(v[d], next);
        }
      }
    }
  }
  for (var c = 0u; c < FOUR; c++) {
    if (block + 4u * lane + c < params.rowCount) {
      let to = (row[c] * params.nHeads + head) * D4;
      let divisor = divisorOf(total[c], head, largest[c]);
      for (var d = 0u; d < D4; d++) {
        z[to + d] = vec4<f32>(sums[4u * d][c], sums[4u * d + 1u][c], sums[4u * d + 2u][c], sums[4u * d + 3u][c]) / divisor;
      }
    }
  }
}
