// The normalizer of each row of logits, see normalizer.wgsl. logits [rowCount, vocab], out [firstRow + rowCount, 2]; row r goes to firstRow + r.
// One workgroup of 64 a row, folded into y.

struct Params {
  rowCount: u32,
  firstRow: u32,
  vocab: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> logits: array<f32>;
@group(1) @binding(1) var<storage, read_write> out: array<vec2<f32>>;

fn numberAt(source: u32, index: u32) -> f32 {
  return logits[index];
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = group.y * grid.x + group.x;
  if (row >= params.rowCount) {
    return;
  }
  let parts = normalizer(0u, row * params.vocab, params.vocab, thread);
  if (thread == 0u) {
    out[params.firstRow + row] = parts;
  }
}
