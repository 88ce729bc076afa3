// Matmul for many rows on a GPU: a workgroup of LANES x LANES computes a block of 4 LANES x 4 LANES of the
// result, moving tiles of both operands, 4 LANES x 16, through workgroup memory, each invocation keeping a 4 x 4 block in
// registers. Every element that is fetched from global memory is used 4 LANES times.
//
// Tiles lie k-major, so that the inner loop reads eight neighbouring numbers for 16 multiply-adds.
// Workgroup memory: 8 KB with 16 lanes. Grid: x = ceil(outWidth / (4 LANES)), y = ceil(rowCount / (4 LANES)).

const SIDE = 4u * LANES;
const DEPTH = 16u;

// Scalars, not vec4: four invocations would each store one component of a vector, and backends may compile that as a
// read and write of the whole (gpuweb/gpuweb issue 2112).
var<workgroup> rowTile: array<array<f32, SIDE>, DEPTH>;
var<workgroup> weightTile: array<array<f32, SIDE>, DEPTH>;

@compute @workgroup_size(LANES * LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let firstColumn = group.x * SIDE;
  let firstRow = group.y * SIDE;
  let blockColumn = thread % LANES;
  let blockRow = thread / LANES;
  var sum0 = vec4<f32>();
  var sum1 = vec4<f32>();
  var sum2 = vec4<f32>();
  var sum3 = vec4<f32>();
  for (var first = 0u; first < params.width; first += DEPTH) {
    // Loading: blocks of one row by four k, and of four columns by four k.
    for (var block = thread; block < SIDE * DEPTH / 4u; block += LANES * LANES) {
      let lane = block / 4u;
      let k = block % 4u * 4u;
      var a = vec4<f32>();
      if (first + k < params.width) {
        a = row4(rowBase(firstRow + lane), first + k, params.width);
      }
      for (var i = 0u; i < 4u; i++) {
        rowTile[k + i][lane] = a[i];
      }
    }
    for (var block = thread; block < SIDE * DEPTH / 16u; block += LANES * LANES) {
      let lane = block % LANES * 4u;
      let k = block / LANES * 4u;
      var b = mat4x4<f32>();
      if (first + k < params.width) {
        b = weightBlock(firstColumn + lane, first + k);
      }
      for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
          weightTile[k + i][lane + j] = b[i][j];
        }
      }
    }
    workgroupBarrier();
    for (var i = 0u; i < DEPTH; i++) {
      let r4 = blockRow * 4u;
      let c4 = blockColumn * 4u;
      let x = vec4<f32>(rowTile[i][r4], rowTile[i][r4 + 1u], rowTile[i][r4 + 2u], rowTile[i][r4 + 3u]);
      let y = vec4<f32>(weightTile[i][c4], weightTile[i][c4 + 1u], weightTile[i][c4 + 2u], weightTile[i][c4 + 3u]);
      sum0 = fma(vec4<f32>(x.x), y, sum0);
      sum1 = fma(vec4<f32>(x.y), y, sum1);
      sum2 = fma(vec4<f32>(x.z), y, sum2);
      sum3 = fma(vec4<f32>(x.w), y, sum3);
    }
    workgroupBarrier();
  }
  let row = firstRow + blockRow * 4u;
  let column = firstColumn + blockColumn * 4u;
  let call = params;
  store4(call, row, column, sum0);
  store4(call, row + 1u, column, sum1);
  store4(call, row + 2u, column, sum2);
  store4(call, row + 3u, column, sum3);
}
