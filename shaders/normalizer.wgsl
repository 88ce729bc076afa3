// The normalizer of a log-softmax over numberAt(source, start + i), i < count, in the two parts that keep their digits: the
// largest number, and log(sum(exp(number - largest))). Joined to reduce.wgsl and to kernels with a numberAt.

fn normalizer(source: u32, start: u32, count: u32, thread: u32) -> vec2<f32> {
  var largest = -3.0e38;
  for (var i = thread; i < count; i += THREADS) {
    largest = max(largest, numberAt(source, start + i));
  }
  largest = reduceMax(thread, largest);
  var sum = 0.0;
  for (var i = thread; i < count; i += THREADS) {
    sum += exp(numberAt(source, start + i) - largest);
  }
  return vec2<f32>(largest, log(reduceSum(thread, sum)));
}
