// The matmul of each row with the matrices of its own experts: out[row, slot, n] = W[expert, n] . x[row, slot] + bias[expert, n].
// Only what the chosen experts hold is read. A workgroup has COLUMNS columns of one pair, each shared by LANES invocations, which
// read its weights as consecutive vec4 (coalesced) and add up through workgroup memory. On CPUs LANES is 1, without a barrier.
// For few rows: every pair reads its expert anew. Joined to rows_*, weights_* and expert_rows.
// Grid: workgroups over pairs times blocks of columns, folded into y.

override HAS_BIAS: bool = false;

@group(1) @binding(3) var<storage, read> bias: array<f32>;
@group(1) @binding(4) var<storage, read_write> out: array<f32>;

var<workgroup> parts: array<f32, COLUMNS * LANES>;

@compute @workgroup_size(COLUMNS * LANES)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let blocks = (params.outWidth + COLUMNS - 1u) / COLUMNS;
  let block = group.y * grid.x + group.x;
  let pair = min(block / blocks, params.pairCount - 1u);
  let isExtra = block / blocks >= params.pairCount;
  let lane = thread % LANES;
  let column = block % blocks * COLUMNS + thread / LANES;
  let expert = expertOf(pair);
  let stacked = expert * params.outWidth + column;
  let isHere = !isExtra && column < params.outWidth && stacked >= params.firstRow && stacked < params.firstRow + params.partRows;
  var sum = 0.0;
  if (isHere) {
    let base = (stacked - params.firstRow) * params.weightStride / 4u;
    let start = startOf(pair);
    for (var k = lane * 4u; k < params.width; k += LANES * 4u) {
      sum += dot(weight4(base + k / 4u), row4(start, k, params.width));
    }
  }
  if (LANES > 1u) {
    parts[thread] = sum;
    workgroupBarrier();
    if (lane == 0u) {
      sum = 0.0;
      for (var i = 0u; i < LANES; i++) {
        sum += parts[thread + i];
      }
    }
  }
  if (isHere && lane == 0u) {
    if (HAS_BIAS) {
      sum += bias[stacked];
    }
    out[pair * params.outWidth + column] = sum;
  }
}
