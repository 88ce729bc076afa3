// Attention of a prompt on a GPU: a workgroup takes ROWS queries of one head and walks the keys in tiles of KEYS that all
// of them read from workgroup memory, with a running softmax (FlashAttention: Dao et al. 2022, arXiv 2205.14135).
//
// SHARE neighbouring invocations hold one query together: invocation i of them makes the scores of the tile's keys i,
// i + SHARE, … and then sums the values' vec4 i, i + SHARE, … of the output slice. Rows of several sequences in one
// workgroup are taken one sequence after the other. Slots are looked up once a tile.
// D4: vec4 of a slice (D4 = dHead / 4 but for wide heads). Grid: x = ceil(rowCount / ROWS), y = nHeads,
// z = dHead / (4 D4). Workgroup memory: 16 ROWS D4 + 32 KEYS D4 + 4 ROWS KEYS bytes, 14 KB with 16, 16 and 64 wide heads.

@group(1) @binding(3) var<storage, read> queries: array<vec4<f32>>;
@group(1) @binding(4) var<storage, read> keys: array<vec4<f32>>;
@group(1) @binding(5) var<storage, read> values: array<vec4<f32>>;
@group(1) @binding(6) var<storage, read_write> z: array<vec4<f32>>;

const HIDDEN = -3.0e38;
const THREADS = ROWS * SHARE;
const OWN4 = (D4 + SHARE - 1u) / SHARE;

var<workgroup> queryTile: array<array<vec4<f32>, D4>, ROWS>;
var<workgroup> keyTile: array<array<vec4<f32>, D4>, KEYS>;
var<workgroup> valueTile: array<array<vec4<f32>, D4>, KEYS>;
var<workgroup> scoreTile: array<array<f32, KEYS>, ROWS>;
var<workgroup> runEnd: u32;
var<workgroup> runFirst: u32;
var<workgroup> runLast: u32;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let firstRow = group.x * ROWS;
  let endRow = min(firstRow + ROWS, params.rowCount);
  let own = thread / SHARE;
  let lane = thread % SHARE;
  let row = min(firstRow + own, params.rowCount - 1u);
  let head = group.y;
  let kvHead = kvHeadOf(head);
  let dHead4 = params.dHead / 4u;
  let position = rowTable[row].y;
  let start = firstVisible(position);
  let end = lastVisible(rowTable[row].x, position);

  var sums: array<vec4<f32>, OWN4>;
  var largest = HIDDEN;
  var total = 0.0;
  var run = firstRow;
  loop {
    if (run >= endRow) {
      break;
    }
    let sequence = rowTable[run].x;
    if (thread == 0u) {
      var next = run;
      var first = firstVisible(rowTable[run].y);
      var last = 0u;
      while (next < endRow && rowTable[next].x == sequence) {
        first = min(first, firstVisible(rowTable[next].y));
        last = max(last, lastVisible(sequence, rowTable[next].y));
        next += 1u;
      }
      runEnd = next;
      runFirst = first;
      runLast = last;
    }
    let runStart = run;
    let first = workgroupUniformLoad(&runFirst);
    let last = workgroupUniformLoad(&runLast);
    run = workgroupUniformLoad(&runEnd);
    let isHere = row >= runStart && row < run;
    for (var key = first; key <= last; key += KEYS) {
      for (var slice = 0u; slice < dHead4; slice += D4) {
        for (var i = thread; i < ROWS * D4; i += THREADS) {
          let tileRow = min(firstRow + i / D4, params.rowCount - 1u);
          queryTile[i / D4][i % D4] = queries[(tileRow * params.queryStride + head * params.dHead) / 4u + slice + i % D4];
        }
        for (var i = thread; i < KEYS * D4; i += THREADS) {
          let at = kvIndex(sequence, min(key + i / D4, last), kvHead) * dHead4;
          keyTile[i / D4][i % D4] = keys[at + slice + i % D4];
          if (slice == 0u) {
            valueTile[i / D4][i % D4] = values[at + group.z * D4 + i % D4];
          }
        }
        workgroupBarrier();
        for (var j = lane; j < KEYS; j += SHARE) {
          var product = select(scoreTile[own][j], 0.0, slice == 0u);
          for (var d = 0u; d < D4; d++) {
            product += dot(queryTile[own][d], keyTile[j][d]);
          }
          let visible = isHere && key + j >= start && key + j <= end;
          let score = select(HIDDEN, finishScore(product, head, position, key + j), visible);
          scoreTile[own][j] = select(product, score, slice + D4 == dHead4);
        }
        workgroupBarrier();
      }
      var newLargest = largest;
      for (var j = 0u; j < KEYS; j++) {
        newLargest = max(newLargest, scoreTile[own][j]);
      }
      let correction = exp(largest - newLargest);
      largest = newLargest;
      total *= correction;
      for (var i = 0u; i < OWN4; i++) {
        sums[i] *= correction;
      }
      for (var j = 0u; j < KEYS; j++) {
        let score = scoreTile[own][j];
        let weight = select(0.0, exp(score - largest), score != HIDDEN);
        total += weight;
        for (var i = 0u; i < OWN4; i++) {
          sums[i] = fma(vec4<f32>(weight), valueTile[j][min(lane + i * SHARE, D4 - 1u)], sums[i]);
        }
      }
      workgroupBarrier();
    }
  }
  if (firstRow + own < params.rowCount) {
    let divisor = divisorOf(total, head, largest);
    let out = (row * params.nHeads + head) * dHead4 + group.z * D4;
    for (var i = 0u; i < OWN4; i++) {
      if (lane + i * SHARE < D4) {
        z[out + lane + i * SHARE] = sums[i] / divisor;
      }
    }
  }
}
