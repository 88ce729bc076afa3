// Parameters and operands of a norm's gradient, in place of that of its result. With y = (x - mean) / s and g = dy * (w + weightOffset),
//   dx = (g - mean(g) - y * mean(g * y)) / s          RMSNorm: without the means of x and of g
// Each row has `groups` vectors of `width`: one, or one a head (q/k norm); weights have `weightStride` elements a group.
// `norm_gradient.wgsl` takes a workgroup for each vector, `norm_gradient_rows.wgsl` an invocation, four elements at a time
// (`Element`). Both hand dy * y, which the weight gets the sum of, to `keep`.

struct Params {
  rowCount: u32,
  width: u32,
  groups: u32,
  start: u32,
  rowStride: u32,
  gradStart: u32,
  gradStride: u32,
  weightStride: u32,
  eps: f32,
  weightOffset: f32,
}

override HAS_WEIGHT: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> x: array<Element>;
@group(1) @binding(1) var<storage, read> weights: array<Element>;
@group(1) @binding(2) var<storage, read_write> grad: array<Element>;

fn scaled(at: u32, w: u32) -> Element {
  if (HAS_WEIGHT) {
    return grad[at] * (weights[w] + params.weightOffset);
  }
  return grad[at];
}
