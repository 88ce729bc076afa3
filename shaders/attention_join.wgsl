// Second half of attention_split.wgsl: z[row, head] = the parts of all splits, each weighted by exp(largest - overall
// largest), over their total weight. A split without keys has total 0 and counts nothing.
// One invocation an output. Grid: x = ceil(rowCount * nHeads * dHead / 64), folded into y.

struct Params {
  count: u32, // rowCount * nHeads
  dHead: u32,
  splits: u32,
  nHeads: u32,
}

override HAS_SINKS: bool = false; // as in attention_params.wgsl

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> parts: array<f32>;
@group(1) @binding(1) var<storage, read> sinks: array<f32>;
@group(1) @binding(2) var<storage, read_write> z: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.count * params.dHead) {
    return;
  }
  let stride = params.dHead + 2u;
  let start = (index / params.dHead) * params.splits * stride;
  var largest = -3.0e38;
  for (var split = 0u; split < params.splits; split++) {
    largest = max(largest, parts[start + split * stride + params.dHead]);
  }
  var sum = 0.0;
  var total = 0.0;
  for (var split = 0u; split < params.splits; split++) {
    let at = start + split * stride;
    let share = exp(parts[at + params.dHead] - largest);
    sum = fma(share, parts[at + index % params.dHead], sum);
    total = fma(share, parts[at + params.dHead + 1u], total);
  }
  if (HAS_SINKS) {
    total += exp(min(sinks[(index / params.dHead) % params.nHeads] - largest, 80.0));
  }
  z[index] = sum / total;
}
