// What the storages that hold weights in blocks share. A block is a run of words: codes of a few bits, and the numbers that make
// weights of them: weight = scale * code + least, with a scale and a least for each 16 neighbouring weights, or more. A storage's own
// file has two functions: `numbersAt` gives both for the 16 weights from 16 * unit on, `codesAt` the codes of the four from
// 4 * four on. `src/kernels/storage.ts` says how many elements and words a block has, and which bytes of the checkpoint's block come
// where; `src/checkpoint/blocks.ts` and `src/checkpoint/gguf/blocks.ts` define the types. Elements are counted as they are in the other storages, so that a kernel
// need not know of blocks: rows are padded to whole ones. See weights_f32.wgsl.

@group(1) @binding(1) var<storage, read> weights: array<u32>;

const BYTES = vec4<u32>(0u, 8u, 16u, 24u);

// The first or the second f16 of a word.
fn halfAt(word: u32, which: u32) -> f32 {
  return unpack2x16float(weights[word] >> (16u * which)).x;
}

// Byte `index` of the bytes that begin at a word.
fn byteAt(word: u32, index: u32) -> u32 {
  return (weights[word + index / 4u] >> (8u * (index % 4u))) & 0xffu;
}

fn signedBytes(word: u32) -> vec4<f32> {
  return vec4<f32>(bitcast<vec4<i32>>(vec4<u32>(word) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
}

// Four codes of `mask`'s bits, one in each byte, `shift` bits from its lowest.
fn fields(word: u32, shift: u32, mask: u32) -> vec4<u32> {
  return (vec4<u32>(weights[word]) >> (BYTES + vec4<u32>(shift))) & vec4<u32>(mask);
}

fn weight4(index: u32) -> vec4<f32> {
  let numbers = numbersAt(index / 4u);
  return numbers.x * codesAt(index) + numbers.y;
}

fn weight(element: u32) -> f32 {
  return weight4(element / 4u)[element % 4u];
}
