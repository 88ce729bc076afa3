// What attention reads beside keys and values: a row of the batch is one token, (sequence, position, slot, token).

@group(1) @binding(0) var<storage, read> rowTable: array<vec4<u32>>;
@group(1) @binding(2) var<storage, read> alibiSlopes: array<f32>;

fn finishScore(product: f32, head: u32, position: u32, key: u32) -> f32 {
  var score = cappedScore(product);
  if (HAS_ALIBI) {
    // Counted from the query: the same under softmax as slope * key, and it stays small in long prompts.
    score += alibiSlopes[head] * (f32(key) - f32(position));
  }
  return score;
}
