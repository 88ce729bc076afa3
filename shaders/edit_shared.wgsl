// What the kernels that change activations agree on.
//
// targets lists the vectors: row and head in the activation, where the vector's values start, alpha, and the coordinates
// (sequence, position) for expressions; dimensions outside firstDim .. endDim are keys that the query of a score cannot
// see, which are not there to be changed. Values lie in one array; an entry's value for its i-th dimension d is
// values[valueStart + valueStride * (i or d)], so a scalar has stride 0 and an entry of a cache is read by coordinate.

struct Params {
  targetCount: u32,
  dimCount: u32,
  valueStride: u32,
  start: u32,
  rowStride: u32,
  headStride: u32,
}

struct Target {
  row: u32,
  head: u32,
  valueStart: u32,
  alpha: f32,
  sequence: u32,
  position: u32,
  firstDim: u32,
  endDim: u32,
}

// Only the dimensions listed in `dims`, else the first dimCount.
override LISTED_DIMS: bool = false;
// Values are indexed by dimension, else by place in `dims`.
override BY_COORDINATE: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> targets: array<Target>;
@group(1) @binding(1) var<storage, read> dims: array<u32>;
@group(1) @binding(2) var<storage, read> values: array<f32>;
@group(1) @binding(3) var<storage, read_write> x: array<f32>;

fn dimension(i: u32) -> u32 {
  if (LISTED_DIMS) {
    return dims[i];
  }
  return i;
}

// Whether dimension d of the vector is there to be changed.
fn isPresent(entry: Target, d: u32) -> bool {
  return d >= entry.firstDim && d < entry.endDim;
}

// The value for the i-th selected dimension, which is d.
fn valueAt(entry: Target, i: u32, d: u32) -> f32 {
  let place = select(i, d, BY_COORDINATE);
  return values[entry.valueStart + params.valueStride * place];
}
