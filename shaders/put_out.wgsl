// The result goes to `out`. See matmul_shared.wgsl.

// What becomes of what lies there: 0 replaced, 1 added to (the residual stream), 2 multiplied (a gated MLP).
override COMBINE: u32 = 0u;

fn put(call: Params, row: u32, column: u32, value: f32) {
  let at = call.outStart + row * call.outStride + column;
  switch COMBINE {
    case 1u: { out[at] += value; }
    case 2u: { out[at] *= value; }
    default: { out[at] = value; }
  }
}
