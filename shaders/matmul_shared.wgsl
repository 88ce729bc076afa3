// What the matmul kernels have in common: parameters, operands and the epilogue.
//
//   cap(act((sum_k rows[r, k] * W[n, k] + bias[n]) * scale))
//
// Joined to `put_out` or `put_cache`, which say what becomes of that.
// rows: [rowCount, width] at `rowStart` with stride `rowStride`, or packed (pack_rows.wgsl) with `rowStride` vec4 from one
// k to the next. W lies as `weights_linear` or `weights_conv1d` say. out: at `outStart` with stride `outStride`.

struct Params {
  rowCount: u32,
  outWidth: u32,
  width: u32,
  rowStart: u32,
  rowStride: u32,
  weightStart: u32, // the first element of W, a multiple of four
  weightStride: u32, // elements from one row of W in memory to the next, a multiple of four
  outStart: u32,
  outStride: u32,
  biasStart: u32,
  scale: f32,
  softCap: f32,
  queryWidth: u32, // for put_cache: columns that are queries, and as many as are keys, or values
  kvWidth: u32,
}

override HAS_BIAS: bool = false;
override HAS_SOFT_CAP: bool = false;
// Rows lie as columns, see rows_turned.wgsl.
override TURNED: bool = false;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(2) var<storage, read> bias: array<f32>;
@group(1) @binding(3) var<storage, read_write> out: array<f32>;

// `call` is a copy of the parameters: SwiftShader would read each of them again for every number.
fn store(call: Params, row: u32, column: u32, sum: f32) {
  if (row >= call.rowCount || column >= call.outWidth) {
    return;
  }
  var value = sum;
  if (HAS_BIAS) {
    value += bias[call.biasStart + column];
  }
  value = activate(value * call.scale);
  if (HAS_SOFT_CAP) {
    value = call.softCap * safeTanh(value / call.softCap);
  }
  put(call, row, column, value);
}

// A loop, so that SwiftShader, which unrolls none, compiles `store` once and not four times.
fn store4(call: Params, row: u32, column: u32, sums: vec4<f32>) {
  for (var i = 0u; i < 4u; i++) {
    store(call, row, column + i, sums[i]);
  }
}

// Rows past the end read the last one instead; `store` drops what they give.
fn rowBase(row: u32) -> u32 {
  return params.rowStart + min(row, params.rowCount - 1u) * select(params.rowStride, 1u, TURNED);
}
