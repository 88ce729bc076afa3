// The result goes to `out`. See matmul_shared.wgsl.

// What becomes of what lies there: 0 replaced, 1 added to (the residual stream), 2 multiplied (a gated MLP).
override COMBINE: u32 = 0u;

fn put(row: u32, column: u32, value: f32) {
  let at = params.outStart + row * params.outStride + column;
  switch COMBINE {
    case 1u: { out[at] += value; }
    case 2u: { out[at] *= value; }
    default: { out[at] = value; }
  }
}
