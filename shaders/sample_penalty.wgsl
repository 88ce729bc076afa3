// Repetition penalty, in place: a logit of a token that occurred before is divided by the penalty when positive and
// multiplied when negative (CTRL, https://arxiv.org/abs/1909.05858, with the sign rule of Hugging Face's transformers).
// `seen` lists the elements of `logits` to change, each once. Grid: x = ceil(count / 64), folded into y.

struct Params {
  count: u32,
  penalty: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> seen: array<u32>;
@group(1) @binding(1) var<storage, read_write> logits: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.count) {
    return;
  }
  let logit = logits[seen[index]];
  logits[seen[index]] = select(logit / params.penalty, logit * params.penalty, logit < 0.0);
}
