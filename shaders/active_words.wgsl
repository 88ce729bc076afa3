// The words of active_bits.wgsl that are not 0, in order: out[row] = their number, then pairs (place of the word, word).
// words [rowCount, words], out [rowCount, 1 + 2 words]. One invocation a row. Grid: x = ceil(rowCount / 64), folded into y.

struct Params {
  rowCount: u32,
  words: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> activeBits: array<u32>;
@group(1) @binding(1) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let row = id.y * grid.x * 64u + id.x;
  if (row >= params.rowCount) {
    return;
  }
  let start = row * (1u + 2u * params.words);
  var count = 0u;
  for (var word = 0u; word < params.words; word++) {
    let bits = activeBits[row * params.words + word];
    if (bits != 0u) {
      out[start + 1u + 2u * count] = word;
      out[start + 2u + 2u * count] = bits;
      count += 1u;
    }
  }
  out[start] = count;
}
