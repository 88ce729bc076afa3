// What the kernels of attention's gradient share. None of them writes scores or pattern (FlashAttention: Dao et al. 2022,
// arXiv 2205.14135): the first keeps four numbers a query and head, its statistics, from which the other two, one by queries
// and one by keys, compute the pattern again. Each takes four vectors of the other side at a time:
// (log of the sum of exp(score) over the keys it sees, sum of pattern * dPattern, ALiBi slope, position).

struct Weights {
  pattern: vec4<f32>,
  dScore: vec4<f32>, // the gradient of q·k
}

fn cappedScores(products: vec4<f32>) -> vec4<f32> {
  let scores = products * params.scale;
  if (HAS_SOFT_CAP) {
    return params.softCap * tanh(clamp(scores / params.softCap, vec4<f32>(-10.0), vec4<f32>(10.0)));
  }
  return scores;
}

// Whether queries see keys of their sequence.
fn sees(position: vec4<u32>, key: vec4<u32>) -> vec4<bool> {
  var visible = vec4<bool>(true);
  if (CAUSAL) {
    visible = key <= position;
  }
  if (CHUNKED) {
    return visible & (key / vec4<u32>(params.window) == position / vec4<u32>(params.window));
  }
  if (params.window > 0u) {
    visible = visible & (max(key, position) - min(key, position) < vec4<u32>(params.window));
  }
  return visible;
}

// Of q·k and dz·v of queries and keys that they see. `bias` is what ALiBi adds.
fn weightsOf(products: vec4<f32>, dPatterns: vec4<f32>, logSum: vec4<f32>, along: vec4<f32>, bias: vec4<f32>) -> Weights {
  let capped = cappedScores(products);
  let pattern = exp(capped + bias - logSum);
  var dScore = params.scale * pattern * (dPatterns - along);
  if (HAS_SOFT_CAP) {
    let part = capped / params.softCap;
    dScore *= vec4<f32>(1.0) - part * part;
  }
  return Weights(pattern, dScore);
}
