// Sum and maximum over a workgroup of 64, given to every invocation. Joined to kernels that reduce. THREADS and its square
// root FOLDS may be set lower, which suits CPUs: norm.wgsl, 128 x 768, takes 0.3 ms with 16 against 1.2 with 64 on
// lavapipe, 2.3 against 7 on SwiftShader.
//
// Eight invocations each fold eight values, then everybody folds the eight results: two barriers instead of the eight of a
// tree. Barriers are what a reduction costs on a software adapter (norm.wgsl, 128 x 768: 6.0 ms against 10.9 ms on
// SwiftShader, 1.2 against 1.1 on lavapipe; medians of 7); on GPUs reads of one address are broadcast. No barrier is needed at the end: the next reduction
// writes `reduceParts` before its first barrier and `reduceSums` after it, when everyone has left this one.

override THREADS: u32 = 64u;
override FOLDS: u32 = 8u;

var<workgroup> reduceParts: array<f32, THREADS>;
var<workgroup> reduceSums: array<f32, FOLDS>;

fn reduceSum(thread: u32, value: f32) -> f32 {
  reduceParts[thread] = value;
  workgroupBarrier();
  if (thread < FOLDS) {
    var part = 0.0;
    for (var i = 0u; i < FOLDS; i++) {
      part += reduceParts[thread * FOLDS + i];
    }
    reduceSums[thread] = part;
  }
  workgroupBarrier();
  var total = 0.0;
  for (var i = 0u; i < FOLDS; i++) {
    total += reduceSums[i];
  }
  return total;
}

fn reduceMax(thread: u32, value: f32) -> f32 {
  reduceParts[thread] = value;
  workgroupBarrier();
  if (thread < FOLDS) {
    var part = reduceParts[thread * FOLDS];
    for (var i = 1u; i < FOLDS; i++) {
      part = max(part, reduceParts[thread * FOLDS + i]);
    }
    reduceSums[thread] = part;
  }
  workgroupBarrier();
  var largest = reduceSums[0];
  for (var i = 1u; i < FOLDS; i++) {
    largest = max(largest, reduceSums[i]);
  }
  return largest;
}
