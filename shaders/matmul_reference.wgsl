// Matmul as it is defined, one invocation an output: what every faster one is checked against before it is
// chosen. Grid: x = ceil(outWidth / 64), y = rowCount.

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= params.outWidth) {
    return;
  }
  var sum = 0.0;
  for (var k = 0u; k < params.width; k++) {
    sum = fma(rows[rowBase(id.y) + k], weightAt(id.x, k), sum);
  }
  store(params, id.y, id.x, sum);
}
