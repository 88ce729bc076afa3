// What norms and their stages have in common: parameters, and the rows x [rowCount, width] f32. Each says by `alias Element`
// whether it takes one number at a time or four.

struct Params {
  rowCount: u32,
  width: u32,
  eps: f32,
  weightOffset: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> x: array<Element>;
