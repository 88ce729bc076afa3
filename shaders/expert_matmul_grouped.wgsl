// The same as expert_matmul for many rows: pairs come in blocks of one expert (expert_groups.wgsl), and an invocation computes four
// columns of a block's ROWS pairs in registers, so that weights are read once a block.
// As many times faster than expert_matmul, f32, SwiftShader, medians of 9 in turn on a busy machine:
//   rows  experts a row  [out, in] of each  times
//   128   2 of 8         512 x 256          4.3
//   128   8 of 64        128 x 256          5.1
//   32    2 of 8         512 x 256          5.5
//   16    2 of 8         512 x 256          1.8   (four pairs an expert, in blocks of eight)
//
// Joined to rows_*, weights_* and expert_rows. Grid: x = ceil(outWidth / (4 LANES)), y = blocks, most of which may be empty.

const NONE = 0xffffffffu;

override HAS_BIAS: bool = false;

@group(1) @binding(3) var<storage, read> bias: array<f32>;
@group(1) @binding(4) var<storage, read_write> out: array<f32>;
@group(1) @binding(5) var<storage, read> owners: array<u32>;
@group(1) @binding(6) var<storage, read> order: array<u32>;

fn put(pair: u32, expert: u32, column: u32, sum: f32) {
  let stacked = expert * params.outWidth + column;
  if (pair == NONE || column >= params.outWidth || stacked < params.firstRow || stacked >= params.firstRow + params.partRows) {
    return;
  }
  var value = sum;
  if (HAS_BIAS) {
    value += bias[stacked];
  }
  out[pair * params.outWidth + column] = value;
}

// Where the weights of a column lie. Columns that are not here read others, whose sums `put` drops.
fn baseOf(expert: u32, column: u32) -> u32 {
  let stacked = expert * params.outWidth + min(column, params.outWidth - 1u);
  let row = clamp(stacked, params.firstRow, params.firstRow + params.partRows - 1u) - params.firstRow;
  return row * params.weightStride / 4u;
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let expert = owners[group.y];
  let column = (group.x * LANES + thread) * 4u;
  if (expert == NONE || column >= params.outWidth) {
    return;
  }
  let base = vec4<u32>(baseOf(expert, column), baseOf(expert, column + 1u), baseOf(expert, column + 2u), baseOf(expert, column + 3u));
  let first = group.y * ROWS;
  var starts: array<u32, ROWS>;
  var sums: array<vec4<f32>, ROWS>;
  for (var r = 0u; r < ROWS; r++) {
    let pair = order[first + r];
    starts[r] = startOf(select(pair, order[first], pair == NONE));
  }
  for (var k = 0u; k < params.width; k += 4u) {
    let w0 = weight4(base.x + k / 4u);
    let w1 = weight4(base.y + k / 4u);
    let w2 = weight4(base.z + k / 4u);
    let w3 = weight4(base.w + k / 4u);
    for (var r = 0u; r < ROWS; r++) {
      let x = row4(starts[r], k, params.width);
      sums[r] += vec4<f32>(dot(w0, x), dot(w1, x), dot(w2, x), dot(w3, x));
    }
  }
  for (var r = 0u; r < ROWS; r++) {
    let pair = order[first + r];
    put(pair, expert, column, sums[r].x);
    put(pair, expert, column + 1u, sums[r].y);
    put(pair, expert, column + 2u, sums[r].z);
    put(pair, expert, column + 3u, sums[r].w);
  }
}
