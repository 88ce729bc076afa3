// The last step of a norm, for norm.wgsl, norm_rows.wgsl and norm_stage_affine.wgsl.
// weights, bias: [width] f32, zeros bound where there is none; out: [rowCount, width] f32.

override HAS_WEIGHT: bool = true;
override HAS_BIAS: bool = false;
// Adds to `out`: norms that follow attention or MLP (olmo2, gemma2) end in the residual.
override ACCUMULATE: bool = false;

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
