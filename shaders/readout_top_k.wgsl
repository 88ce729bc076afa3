// The `count` largest of each row, in falling order, equal ones by rising index: out[row, i] = (index, bits of the value).
// Round i takes the first of what comes after the pick of round i - 1 in that order, so nothing has to be marked or sorted;
// it reads the row once a round, which is cheap beside the matmul that made it. NaN comes first.
// x [rowCount, width] f32 (bound as bits), out [rowCount, count]. One workgroup of 256 a row, folded into y.

struct Params {
  rowCount: u32,
  width: u32,
  count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> x: array<u32>;
@group(1) @binding(1) var<storage, read_write> out: array<vec2<u32>>;

const THREADS = 256u;

var<workgroup> keys: array<u32, THREADS>;
var<workgroup> indices: array<u32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = group.y * grid.x + group.x;
  if (row >= params.rowCount) {
    return;
  }
  let start = row * params.width;
  var lastKey = 0u;
  var lastIndex = 0u;
  for (var pick = 0u; pick < params.count; pick++) {
    var bestKey = 0u;
    var best = 0u;
    for (var index = thread; index < params.width; index += THREADS) {
      let key = orderedKey(x[start + index]);
      let isLeft = pick == 0u || key < lastKey || (key == lastKey && index > lastIndex);
      if (isLeft && key > bestKey) {
        bestKey = key;
        best = index;
      }
    }
    keys[thread] = bestKey;
    indices[thread] = best;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
      if (thread < half) {
        let key = keys[thread + half];
        let index = indices[thread + half];
        if (key > keys[thread] || (key == keys[thread] && index < indices[thread])) {
          keys[thread] = key;
          indices[thread] = index;
        }
      }
      workgroupBarrier();
    }
    lastKey = keys[0];
    lastIndex = indices[0];
    if (thread == 0u) {
      out[row * params.count + pick] = vec2<u32>(lastIndex, x[start + lastIndex]);
    }
    workgroupBarrier();
  }
}
