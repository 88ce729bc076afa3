// Whether anything in a gradient is not 0; NaN is not 0. `rows` vectors of `width` numbers, `stride` apart, from `start` on.
//
// out[outStart + group] = how many invocations of the workgroup found something; each ends with its first find.
// Grid: x = GROUPS.

struct Params {
  start: u32,
  rows: u32,
  width: u32,
  stride: u32,
  outStart: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> x: array<u32>; // bits of f32: a compiler may take for granted that there is no NaN
@group(1) @binding(1) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(THREADS)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let count = params.rows * params.width;
  var found = 0.0;
  for (var i = group.x * THREADS + thread; i < count && found == 0.0; i += grid.x * THREADS) {
    let bits = x[params.start + i / params.width * params.stride + i % params.width];
    found = select(1.0, 0.0, (bits & 0x7fffffffu) == 0u);
  }
  found = reduceSum(thread, found);
  if (thread == 0u) {
    out[params.outStart + group.x] = found;
  }
}
