// The `keep` largest of each row, those above 0 alone, and 0 in the place of the others, in place; of equal ones the first.
// The bits of positive floats order as they do, so the smallest that stays is found digit by digit: four times the row is
// read, and its digits are counted. x [rowCount, width]. One workgroup a row, folded into y.

struct Params {
  rowCount: u32,
  width: u32,
  keep: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read_write> x: array<f32>;

override THREADS: u32 = 64u;

var<workgroup> counts: array<atomic<u32>, 256>;
// The digits of the smallest that stays so far, how many of its equals stay, and how many there are.
var<workgroup> found: vec3<u32>;

fn keyOf(value: f32) -> u32 {
  return select(0u, bitcast<u32>(value), value > 0.0);
}

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
  if (thread == 0u) {
    found = vec3<u32>(0u, params.keep, 0u);
  }
  for (var digit = 0u; digit < 4u; digit++) {
    let shift = 24u - 8u * digit;
    for (var i = thread; i < 256u; i += THREADS) {
      atomicStore(&counts[i], 0u);
    }
    workgroupBarrier();
    let prefix = found.x;
    for (var i = thread; i < params.width; i += THREADS) {
      let key = keyOf(x[start + i]);
      // The digits before this one; a shift by 32 is none.
      if (key != 0u && (digit == 0u || (key >> (shift + 8u)) == (prefix >> (shift + 8u)))) {
        atomicAdd(&counts[(key >> shift) & 255u], 1u);
      }
    }
    workgroupBarrier();
    if (thread == 0u) {
      var left = found.y;
      var value = 255u;
      var here = atomicLoad(&counts[255]);
      while (here < left && value > 0u) {
        left -= here;
        value -= 1u;
        here = atomicLoad(&counts[value]);
      }
      found = vec3<u32>(prefix | (value << shift), left, here);
    }
    workgroupBarrier();
  }
  let least = found.x;
  let staying = found.y;
  let equals = found.z;
  for (var i = thread; i < params.width; i += THREADS) {
    let key = keyOf(x[start + i]);
    if (key == 0u || key < least) {
      x[start + i] = 0.0;
    }
  }
  if (thread == 0u && equals > staying) {
    var seen = 0u;
    for (var i = 0u; i < params.width; i++) {
      if (keyOf(x[start + i]) == least) {
        seen += 1u;
        if (seen > staying) {
          x[start + i] = 0.0;
        }
      }
    }
  }
}
