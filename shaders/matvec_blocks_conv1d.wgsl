// Matmul of a single row with weights [in, out] in blocks of 64, as matvec_lanes_conv1d.wgsl: each invocation keeps 16 neighbouring
// columns, which share a scale at each k. So x is scaled, once, and not the 16 codes; what lies beside the codes (PLACE,
// offset: weights_q8_0.wgsl) is taken into account at the end. Columns begin at whole blocks.
// Grid: x = ceil(outWidth / (16 * LANES)), folded into y.

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let column = ((group.y * grid.x + group.x) * LANES + thread) * 16u;
  if (column >= params.outWidth) {
    return;
  }
  var sums: array<vec4<f32>, FOURS>;
  var scaled = 0.0;
  let element = params.weightStart + column;
  let unit = element / 16u % 4u;
  let next = params.weightStride / 64u * BLOCK_WORDS;
  var block = element / 64u * BLOCK_WORDS;
  for (var k = 0u; k < params.width; k++) {
    let x = rows[params.rowStart + k] * scaleIn(block, unit);
    for (var c = 0u; c < FOURS; c++) {
      sums[c] = fma(vec4<f32>(x), inPlace(block, unit, c), sums[c]);
    }
    scaled += x;
    block += next;
  }
  let call = params;
  for (var c = 0u; c < FOURS; c++) {
    store4(call, 0u, column + 4u * c, fma(sums[c], PLACE, scaled * offsetIn(unit)));
  }
}
