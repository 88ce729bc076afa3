// A row of keys, as both kernels of keys' gradients have it in their tables.

struct KeyRow {
  row: u32,
  isReal: u32, // 0 where a block that is not full repeats its last row
  slot: u32,
  position: u32,
  firstQuery: u32, // rows of the queries that may see it
  endQuery: u32,
}
