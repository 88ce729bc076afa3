// The user's expressions of a `wgsl` metric, of one token: its logit, p and logP of the softmax, its id, w its entry of the
// weights, and value, the finished sum of the terms. The host replaces TERM and GRADIENT.

fn term(logit: f32, p: f32, logP: f32, token: u32, w: f32) -> f32 {
  return TERM;
}

fn gradient(logit: f32, p: f32, logP: f32, token: u32, w: f32, value: f32) -> f32 {
  return GRADIENT;
}
