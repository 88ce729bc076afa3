// Matmul of a single row with weights [out, in] in blocks of 64, as matvec_lanes_linear.wgsl, 16 k a step: for so many the scale is
// read once, and codes are added up before they are scaled. sum of scale * (code * PLACE + offset) * x = scale * (sum of code *
// (PLACE * x) + sum of offset * x): the last sum, and PLACE * x, all columns share. Rows of W begin at whole blocks.
// Grid: x = ceil(outWidth / (COLUMNS * LANES)), folded into y.

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let column = (group.y * grid.x + group.x) * LANES * COLUMNS + thread;
  if (column >= params.outWidth) {
    return;
  }
  var sums: array<f32, COLUMNS>;
  var block: array<u32, COLUMNS>;
  for (var c = 0u; c < COLUMNS; c++) {
    block[c] = columnBase(column + c * LANES) / 16u * BLOCK_WORDS;
  }
  for (var first = 0u; first < params.width; first += 64u) {
    for (var unit = 0u; unit < 4u; unit++) {
      let k = first + 16u * unit;
      if (k >= params.width) {
        break;
      }
      var x: array<vec4<f32>, FOURS>;
      var whole = vec4<f32>();
      for (var j = 0u; j < FOURS; j++) {
        // Past the width may lie what belongs to others.
        let at = k + 4u * j;
        x[j] = select(vec4<f32>(), row4(params.rowStart, min(at, params.width - 1u), params.width), at < params.width);
        whole += x[j];
        x[j] *= PLACE;
      }
      let offset = dot(whole, offsetIn(unit));
      for (var c = 0u; c < COLUMNS; c++) {
        var sum = vec4<f32>();
        for (var j = 0u; j < FOURS; j++) {
          sum = fma(inPlace(block[c], unit, j), x[j], sum);
        }
        sums[c] = fma(scaleIn(block[c], unit), dot(sum, vec4<f32>(1.0)) + offset, sums[c]);
      }
    }
    for (var c = 0u; c < COLUMNS; c++) {
      block[c] += BLOCK_WORDS;
    }
  }
  let call = params;
  for (var c = 0u; c < COLUMNS; c++) {
    store(call, 0u, column + c * LANES, sums[c]);
  }
}
