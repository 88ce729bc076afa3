// Log probability of chosen tokens: for each entry (row, token), (logit - largest) - log(sum(exp(logit - largest))),
// with the row's two normalizers from log_sum_exp. Several entries may share a row.
// entries [.., 2] u32, of which `count` from `firstEntry` on are done; logits [rows, vocab] from row `firstRow` on;
// normalizers [.., 2] of all rows; out like entries.
// Grid: x = ceil(count / 64), folded into y.

struct Params {
  count: u32,
  firstEntry: u32,
  firstRow: u32,
  vocab: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> entries: array<vec2<u32>>;
@group(1) @binding(1) var<storage, read> logits: array<f32>;
@group(1) @binding(2) var<storage, read> normalizers: array<vec2<f32>>;
@group(1) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.count) {
    return;
  }
  let entry = entries[params.firstEntry + index];
  let normalizer = normalizers[entry.x];
  let logit = logits[(entry.x - params.firstRow) * params.vocab + entry.y];
  out[params.firstEntry + index] = logit - normalizer.x - normalizer.y;
}
