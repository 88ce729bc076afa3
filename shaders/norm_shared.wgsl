// Mean and scale of a vector, for every kernel that norms one. Joined to files that declare `x`, `params.width` and
// `params.eps`; one workgroup a vector, which starts at element `start`.
//
// Mean and variance are taken in two passes: one pass (E[x^2] - E[x]^2) loses all digits when the mean is large against
// the spread, and residual streams have such rows.

// LayerNorm; RMSNorm leaves the mean where it is.
override SUBTRACT_MEAN: bool = true;

fn meanOf(start: u32, thread: u32) -> f32 {
  if (!SUBTRACT_MEAN) {
    return 0.0;
  }
  var sum = 0.0;
  for (var d = thread; d < params.width; d += THREADS) {
    sum += x[start + d];
  }
  return reduceSum(thread, sum) / f32(params.width);
}

// sqrt(mean((x - mean)^2) + eps): what the centred vector is divided by.
fn scaleOf(start: u32, mean: f32, thread: u32) -> f32 {
  var squares = 0.0;
  for (var d = thread; d < params.width; d += THREADS) {
    let centred = x[start + d] - mean;
    squares = fma(centred, centred, squares);
  }
  return sqrt(reduceSum(thread, squares) / f32(params.width) + params.eps);
}
