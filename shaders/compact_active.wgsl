// The active features of each row, as pairs (feature, bits of the activation) in rising order, row after row.
//   WRITE off: counts[row] = how many there are
//   WRITE on: pairs[starts[row]..], where starts are the sums of the counts before
// x [rowCount, width]. One workgroup a row, folded into y; each invocation takes a run of features.

struct Params {
  rowCount: u32,
  width: u32,
}

override WRITE: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> x: array<f32>;
@group(1) @binding(1) var<storage, read> starts: array<u32>;
@group(1) @binding(2) var<storage, read_write> out: array<u32>;

const THREADS = 64u;

var<workgroup> counts: array<u32, THREADS>;

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
  let run = (params.width + THREADS - 1u) / THREADS;
  let first = thread * run;
  let end = min(first + run, params.width);
  let start = row * params.width;
  var count = 0u;
  for (var f = first; f < end; f++) {
    if (x[start + f] > 0.0) { count += 1u; }
  }
  counts[thread] = count;
  workgroupBarrier();
  if (!WRITE) {
    if (thread == 0u) {
      var total = 0u;
      for (var i = 0u; i < THREADS; i++) {
        total += counts[i];
      }
      out[row] = total;
    }
    return;
  }
  var place = starts[row];
  for (var i = 0u; i < thread; i++) {
    place += counts[i];
  }
  for (var f = first; f < end; f++) {
    let value = x[start + f];
    if (value > 0.0) {
      out[2u * place] = f;
      out[2u * place + 1u] = bitcast<u32>(value);
      place += 1u;
    }
  }
}
