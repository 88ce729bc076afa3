// What attention reads beside keys and values: a row of the batch is one token, (sequence, position, slot, token).
// headNumbers: a number a head, its ALiBi slope or its sink (models have the one or the other).

@group(1) @binding(0) var<storage, read> rowTable: array<vec4<u32>>;
@group(1) @binding(2) var<storage, read> headNumbers: array<f32>;

fn alibiOf(head: u32, position: u32, key: u32) -> f32 {
  return alibiBias(vec4<f32>(headNumbers[head]), vec4<f32>(f32(key)), vec4<f32>(f32(position))).x;
}

fn finishScore(product: f32, head: u32, position: u32, key: u32) -> f32 {
  var score = cappedScore(product);
  if (HAS_ALIBI) {
    score += alibiOf(head, position, key);
  }
  return score;
}

// What sums of weights * values are divided by: the sum of the weights exp(score - largest), the sink's among them.
fn divisorOf(total: f32, head: u32, largest: f32) -> f32 {
  return withSink(total, headNumbers[head], largest);
}
