// LayerNorm and RMSNorm of each row in one go: out[r] (+)= (x[r] - mean) / sqrt(variance + eps) * (w + weightOffset) + b.
// One workgroup a row, folded into y.
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
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = group.y * grid.x + group.x;
  if (row >= params.rowCount) {
    return;
  }
  let start = row * params.width;
  let mean = meanOf(start, thread);
  let factor = 1.0 / scaleOf(start, mean, thread);
  for (var d = thread; d < params.width; d += THREADS) {
    var value = (x[start + d] - mean) * factor;
    if (HAS_WEIGHT) {
      value *= weights[d] + params.weightOffset;
    }
    if (HAS_BIAS) {
      value += bias[d];
    }
    if (ACCUMULATE) {
      value += out[start + d];
    }
    out[start + d] = value;
  }
}
