// What norm.wgsl, norm_rows.wgsl and norm_stages.wgsl have in common: parameters, operands and the last step. Each says by
// `alias Element` whether it takes one number at a time or four.
// weights, bias: [width] f32, zeros bound where there is none.

struct Params {
  rowCount: u32,
  width: u32,
  eps: f32,
  weightOffset: f32,
}

override HAS_WEIGHT: bool = true;
override HAS_BIAS: bool = false;
// Adds to `out`: norms that follow attention or MLP (olmo2, gemma2) end in the residual.
override ACCUMULATE: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> x: array<Element>;
@group(1) @binding(1) var<storage, read> weights: array<Element>;
@group(1) @binding(2) var<storage, read> bias: array<Element>;
@group(1) @binding(3) var<storage, read_write> out: array<Element>;

// out[at] (+)= normalized * (w[d] + weightOffset) + b[d]
fn affineTo(at: u32, d: u32, normalized: Element) {
  var value = normalized;
  if (HAS_WEIGHT) {
    value *= weights[d] + params.weightOffset;
  }
  if (HAS_BIAS) {
    value += bias[d];
  }
  if (ACCUMULATE) {
    value += out[at];
  }
  out[at] = value;
}
