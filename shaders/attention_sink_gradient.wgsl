// What each query gives to the gradient of its head's sink: out[row, head] = -exp(sink - log sum) * (pattern · dPattern).
// statistics: [row, head] vec4 as attention_statistics_tile.wgsl writes them; sinks: [nHeads].
// One invocation a (row, head). Grid: x = ceil(count / 64), folded into y.

struct Params {
  count: u32, // rows * nHeads
  nHeads: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> statistics: array<vec4<f32>>;
@group(1) @binding(1) var<storage, read> sinks: array<f32>;
@group(1) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.count) {
    return;
  }
  let known = statistics[index];
  out[index] = -exp(sinks[index % params.nHeads] - known.x) * known.y;
}
