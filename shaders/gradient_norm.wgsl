// The norm of all gradients together, in two steps whose sums have one order.
//   squares: partials[firstPartial + group] = the sum of squares of 4096 elements of a buffer of gradients; a workgroup each
//   total:   result = (norm, clip factor, bad step): sqrt of the sum of all partials, and min(1, clip / (norm + 1e-6)), as
//            PyTorch's clip_grad_norm_ has it; 1 without a clip. `bad step` is the first whose norm is no finite number, and stays:
//            from then on no weight moves. One workgroup.

struct Params {
  count: u32, // elements of the buffer; of `total` partials
  firstPartial: u32,
  clip: f32, // 0: none
  step: f32, // of `total`
}

const ELEMENTS: u32 = 4096u;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> x: array<f32>;
@group(1) @binding(1) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(THREADS)
fn squares(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = group.y * grid.x + group.x;
  let first = index * ELEMENTS;
  if (first >= params.count) {
    return;
  }
  let end = min(first + ELEMENTS, params.count);
  var sum = 0.0;
  for (var i = first + thread; i < end; i += THREADS) {
    sum = fma(x[i], x[i], sum);
  }
  let total = reduceSum(thread, sum);
  if (thread == 0u) {
    out[params.firstPartial + index] = total;
  }
}

@compute @workgroup_size(THREADS)
fn total(@builtin(local_invocation_index) thread: u32) {
  var sum = 0.0;
  for (var i = thread; i < params.count; i += THREADS) {
    sum += x[i];
  }
  let norm = sqrt(reduceSum(thread, sum));
  if (thread == 0u) {
    out[0] = norm;
    out[1] = 1.0;
    // By its bits: a compiler may take for granted that there is no NaN.
    if ((bitcast<u32>(norm) & 0x7f800000u) == 0x7f800000u && out[2] == 0.0) {
      out[2] = params.step;
    }
    if (params.clip > 0.0) {
      out[1] = min(1.0, params.clip / (norm + 1e-6));
    }
  }
}
