// Where keys and values lie. Those of position j of sequence s are in slot slotTable[s * slotStride + j]; sequences may share
// slots (a forked cache, a sweep over one base run). Without causality the last entry of a sequence's row is its length.

@group(1) @binding(1) var<storage, read> slotTable: array<u32>;

fn lastVisible(sequence: u32, position: u32) -> u32 {
  if (CAUSAL) {
    return position;
  }
  let last = slotTable[(sequence + 1u) * params.slotStride - 1u] - 1u;
  if (params.window == 0u) {
    return last;
  }
  return min(last, position + params.window - 1u);
}

// Where the key and the value of a position lie, counted in heads.
fn kvIndex(sequence: u32, position: u32, kvHead: u32) -> u32 {
  return slotTable[sequence * params.slotStride + position] * params.nKvHeads + kvHead;
}
