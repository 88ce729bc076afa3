// What the storages that hold weights in blocks share. A block is a run of words: codes of a few bits, and the scales that make
// numbers of them. `src/kernels/storage.ts` says how many elements and words a block has, and which bytes of the checkpoint's
// block come where. Elements are counted as they are in the other storages, so that a kernel need not know of blocks: rows are
// padded to whole blocks. The definition of each type stands in `src/checkpoint/blocks.ts`. See weights_f32.wgsl.

@group(1) @binding(1) var<storage, read> weights: array<u32>;

fn bytesOf(word: u32) -> vec4<u32> {
  return (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu);
}

fn signedBytes(word: u32) -> vec4<f32> {
  return vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(word) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
}

// Byte `index` of the bytes that begin at a word.
fn byteAt(word: u32, index: u32) -> u32 {
  return (weights[word + index / 4u] >> (8u * (index % 4u))) & 0xffu;
}

// Four codes of `mask`'s bits, one in each byte, `shift` bits from its lowest.
fn codesAt(word: u32, shift: u32, mask: u32) -> vec4<u32> {
  return bytesOf(weights[word] >> shift) & vec4<u32>(mask);
}

fn weight(element: u32) -> f32 {
  return weight4(element / 4u)[element % 4u];
}
