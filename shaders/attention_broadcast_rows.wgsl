// Attention of many rows by outer products in registers, as matmul_broadcast.wgsl computes matmuls: a subgroup takes ROWS
// neighbouring rows of one head and walks their keys, 4 LANES at a time, with a running softmax (Milakov and Gimelshein
// 2018, arXiv 1805.02867). An invocation scores four keys for all the rows, queries broadcast by the subgroup; then it
// adds up the values of all keys for its own dimensions of the head, weights broadcast. For prompts on adapters that run
// on a CPU and have subgroups.
//
// Milliseconds for 12 heads of 64 and a prompt of 128, this against attention_rows.wgsl, medians of 7 in one run: 1.9 and 5.0
// on lavapipe, 9.1 and 20.0 on SwiftShader; 4 heads and a prompt of 512: 6.6 and 25.0, 38 and 106. It takes 0.8 to 1.8 s to
// compile. With 16 rows a block: 1.8 and 5.2 ms on lavapipe, the same on SwiftShader, and 2.7 to 4.6 s. With the four keys of
// an invocation in a loop: as fast on lavapipe, 1.3 times slower on SwiftShader.
//
// Rows of several sequences are taken one sequence after the other, and the others hidden meanwhile.
// PER: vec4 of a head that an invocation keeps, of D4 in all. PARTS: queries it reads.
// FOUR: its keys, a constant so that the loop over them is unrolled. A workgroup is one subgroup.
// Grid: x = ceil(rowCount / ROWS), y = nHeads.

enable subgroups;

@group(1) @binding(3) var<storage, read> queries: array<vec4<f32>>;
@group(1) @binding(4) var<storage, read> keys: array<vec4<f32>>;
@group(1) @binding(5) var<storage, read> values: array<vec4<f32>>;
@group(1) @binding(6) var<storage, read_write> z: array<vec4<f32>>;

const HIDDEN = -3.0e38;

// Row r of the block, or the last one in place of those after it: they are not stored.
fn rowOf(first: u32, r: u32) -> u32 {
  return min(first + r, params.rowCount - 1u);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
  let head = group.y;
  let kvHead = kvHeadOf(head);
  let firstRow = group.x * ROWS;
  let dHead4 = params.dHead / 4u; // D4, but no constant: drivers unroll loops over constants, see attention_rows.wgsl
  var queryAt: array<u32, PARTS>;
  for (var p = 0u; p < PARTS; p++) {
    queryAt[p] = (rowOf(firstRow, p * LANES + lane) * params.queryStride + head * params.dHead) / 4u;
  }
  var sums: array<vec4<f32>, ROWS * PER>;
  var totals: array<f32, ROWS>; // of this invocation's keys
  var largest: array<f32, ROWS>;
  for (var r = 0u; r < ROWS; r++) {
    largest[r] = HIDDEN;
  }
  var end = 0u;
  for (var begin = 0u; begin < ROWS; begin = end) {
    // Rows begin .. end - 1 are of one sequence.
    let sequence = rowTable[rowOf(firstRow, begin)].x;
    var firstKey = 0xffffffffu;
    var lastKey = 0u;
    for (end = begin; end < ROWS; end++) {
      let entry = rowTable[rowOf(firstRow, end)];
      if (entry.x != sequence) {
        break;
      }
      firstKey = min(firstKey, firstVisible(entry.y));
      lastKey = max(lastKey, lastVisible(sequence, entry.y));
    }
    for (var first = firstKey; first <= lastKey; first += 4u * LANES) {
      // Keys past the end repeat the last one, and are hidden.
      let key = first + 4u * lane + vec4<u32>(0u, 1u, 2u, 3u);
      var at: vec4<u32>;
      for (var c = 0u; c < 4u; c++) {
        at[c] = kvIndex(sequence, min(key[c], lastKey), kvHead) * D4;
      }
      var scores: array<vec4<f32>, ROWS>;
      for (var r = 0u; r < ROWS; r++) {
        scores[r] = vec4<f32>();
      }
      for (var d = 0u; d < dHead4; d++) {
        let k = transpose(mat4x4<f32>(keys[at.x + d], keys[at.y + d], keys[at.z + d], keys[at.w + d]));
        for (var p = 0u; p < PARTS; p++) {
          let query = queries[queryAt[p] + d];
          for (var l = 0u; l < SHARE; l++) {
            scores[p * LANES + l] = fma(vec4<f32>(subgroupBroadcast(query.x, l)), k[0], scores[p * LANES + l]);
            scores[p * LANES + l] = fma(vec4<f32>(subgroupBroadcast(query.y, l)), k[1], scores[p * LANES + l]);
            scores[p * LANES + l] = fma(vec4<f32>(subgroupBroadcast(query.z, l)), k[2], scores[p * LANES + l]);
            scores[p * LANES + l] = fma(vec4<f32>(subgroupBroadcast(query.w, l)), k[3], scores[p * LANES + l]);
          }
        }
      }
      for (var r = 0u; r < ROWS; r++) {
        // From scores to weights.
        let position = rowTable[rowOf(firstRow, r)].y;
        let isRow = r >= begin && r < end;
        let last = lastVisible(sequence, position);
        var visible: vec4<bool>;
        for (var c = 0u; c < 4u; c++) {
          visible[c] = isRow && key[c] <= last && key[c] >= firstVisible(position);
          scores[r][c] = select(HIDDEN, finishScore(scores[r][c], head, position, key[c]), visible[c]);
        }
        let own = max(max(scores[r].x, scores[r].y), max(scores[r].z, scores[r].w));
        let newLargest = max(largest[r], subgroupMax(own));
        let correction = exp(largest[r] - newLargest);
        largest[r] = newLargest;
        scores[r] = select(vec4<f32>(), exp(scores[r] - vec4<f32>(newLargest)), visible);
        totals[r] = totals[r] * correction + dot(scores[r], vec4<f32>(1.0));
        for (var p = 0u; p < PER; p++) {
          sums[r * PER + p] *= correction;
        }
      }
      let holders = min(LANES, (lastKey - first) / 4u + 1u);
      for (var l = 0u; l < holders; l++) {
        for (var c = 0u; c < FOUR; c++) {
          let valueAt = subgroupShuffle(at[c], l);
          var v: array<vec4<f32>, PER>;
          for (var p = 0u; p < PER; p++) {
            v[p] = values[valueAt + min(p * LANES + lane, D4 - 1u)];
          }
          for (var r = 0u; r < ROWS; r++) {
            let weight = vec4<f32>(subgroupShuffle(scores[r][c], l));
            for (var p = 0u; p < PER; p++) {
              sums[r * PER + p] = fma(weight, v[p], sums[r * PER + p]);
            }
          }
        }
      }
    }
  }
  for (var r = 0u; r < ROWS; r++) {
    let total = divisorOf(subgroupAdd(totals[r]), head, largest[r]);
    for (var p = 0u; p < PER; p++) {
      let d = p * LANES + lane;
      if (firstRow + r < params.rowCount && d < D4) {
        z[((firstRow + r) * params.nHeads + head) * D4 + d] = sums[r * PER + p] / total;
      }
    }
  }
}
