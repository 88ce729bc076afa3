// What the kernels of experts' matmuls have in common: the pairs of a row and one of its slots, each with an expert of its own.
//
// Matrices of all experts lie stacked, [experts * outWidth, width], and a part of them is bound: `partRows` rows from `firstRow` on.
// indices: [row, slot], the number of the expert as f32.

struct Params {
  pairCount: u32, // rows times slots
  slots: u32,
  experts: u32,
  outWidth: u32,
  width: u32,
  rowStart: u32,
  rowStride: u32,
  slotStride: u32, // 0: all slots of a row read the same
  indexStart: u32,
  indexStride: u32,
  weightStride: u32,
  firstRow: u32,
  partRows: u32,
  gradStart: u32, // where the gradient of the result lies, in kernels that have one
  gradStride: u32,
  gradSlotStride: u32,
  blocks: u32, // of pairs of one expert, in kernels that sort them
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(2) var<storage, read> indices: array<f32>;

fn expertOf(pair: u32) -> u32 {
  let at = params.indexStart + pair / params.slots * params.indexStride + pair % params.slots;
  return min(u32(indices[at] + 0.5), params.experts - 1u);
}

fn startOf(pair: u32) -> u32 {
  return params.rowStart + pair / params.slots * params.rowStride + pair % params.slots * params.slotStride;
}

fn gradStartOf(pair: u32) -> u32 {
  return params.gradStart + pair / params.slots * params.gradStride + pair % params.slots * params.gradSlotStride;
}
