// Rows turned for the matmuls that keep a block of the result in registers: packed[k, r] = rows[r, k], so that the four
// rows r .. r + 3 at one k are one vec4. k past `width` are zero up to a multiple of four; rows past `rowCount` repeat the
// last one, and nobody reads what they give. Joined to `rows_aligned` or `rows_any`.
//
// 128 x 768 takes 0.2 ms on lavapipe and 0.5 on SwiftShader, where the matmul with 3072 columns takes 20 and 150, and
// reading its rows packed makes that 1.3 to 3 times faster on lavapipe (medians of 5).
// rows: element rowStart + r * rowStride + k; packed: [4 ceil(width / 4), ceil(rowCount / 4)] vec4.
// One invocation a block of 4 x 4. Grid: x = ceil(width / 4 / 8), y = ceil(rowCount / 4 / 8).

struct Params {
  rowCount: u32,
  width: u32,
  rowStart: u32,
  rowStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(1) var<storage, read_write> packed: array<vec4<f32>>;

fn fourOf(row: u32, k: u32) -> vec4<f32> {
  return row4(params.rowStart + min(row, params.rowCount - 1u) * params.rowStride, k, params.width);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let k = (group.x * 8u + thread % 8u) * 4u;
  let group4 = group.y * 8u + thread / 8u;
  let rowCount4 = (params.rowCount + 3u) / 4u;
  if (k >= params.width || group4 >= rowCount4) {
    return;
  }
  let row = group4 * 4u;
  let block = transpose(mat4x4<f32>(fourOf(row, k), fourOf(row + 1u, k), fourOf(row + 2u, k), fourOf(row + 3u, k)));
  packed[k * rowCount4 + group4] = block[0];
  packed[(k + 1u) * rowCount4 + group4] = block[1];
  packed[(k + 2u) * rowCount4 + group4] = block[2];
  packed[(k + 3u) * rowCount4 + group4] = block[3];
}
