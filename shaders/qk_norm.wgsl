// Norm of queries or keys before RoPE, in place in the packed [row, (q | k | v)] tensor.
//
// Each row has `groups` vectors of `width` starting at `start`: one a head (qwen3, gemma3), or one over all heads (olmo2).
// Weights have `weightStride` elements a group: 0 shares one vector among the heads, `width` gives each its own.
// One workgroup a (row, group), folded into y.

struct Params {
  rowCount: u32,
  rowStride: u32,
  start: u32,
  groups: u32,
  width: u32,
  weightStride: u32,
  eps: f32,
  weightOffset: f32,
}

override HAS_BIAS: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> weights: array<f32>;
@group(1) @binding(1) var<storage, read> bias: array<f32>;
@group(1) @binding(2) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) workgroup: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let index = workgroup.y * grid.x + workgroup.x;
  if (index >= params.rowCount * params.groups) {
    return;
  }
  let group = index % params.groups;
  let start = (index / params.groups) * params.rowStride + params.start + group * params.width;
  let mean = meanOf(start, thread);
  let factor = 1.0 / scaleOf(start, mean, thread);
  for (var d = thread; d < params.width; d += THREADS) {
    let w = group * params.weightStride + d;
    var value = (x[start + d] - mean) * factor * (weights[w] + params.weightOffset);
    if (HAS_BIAS) {
      value += bias[w];
    }
    x[start + d] = value;
  }
}
