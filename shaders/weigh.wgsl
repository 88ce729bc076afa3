// What experts give, weighed: out[r, h, d] = x[r, h, d] * weights[r, h], or summed over h: out[r, d]. x may have one vector for all h
// (`headStride` 0). Grid: x = ceil(elements of out / 64), folded into y.

struct Params {
  count: u32, // elements of out
  heads: u32,
  width: u32,
  start: u32,
  rowStride: u32,
  headStride: u32,
  weightStart: u32,
  weightStride: u32,
}

override SUM: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> x: array<f32>;
@group(1) @binding(1) var<storage, read> weights: array<f32>;
@group(1) @binding(2) var<storage, read_write> out: array<f32>;

fn weighed(row: u32, head: u32, d: u32) -> f32 {
  let value = x[params.start + row * params.rowStride + head * params.headStride + d];
  return value * weights[params.weightStart + row * params.weightStride + head];
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.count) {
    return;
  }
  let d = index % params.width;
  let vector = index / params.width;
  if (!SUM) {
    out[index] = weighed(vector / params.heads, vector % params.heads, d);
    return;
  }
  var sum = 0.0;
  for (var head = 0u; head < params.heads; head++) {
    sum += weighed(vector, head, d);
  }
  out[index] = sum;
}
