// Sorts the pairs of a row and a slot by their experts, into blocks of ROWS pairs that have one expert each.
//
// owners: the expert of each of `blocks` blocks, or NONE. order: the pairs of each block, [blocks, ROWS], or NONE. There are as many blocks as any choice can need, so that nothing is read back: pairs / ROWS, and one that is not full for each expert.
// The order of pairs within an expert is left to chance; what is computed for a pair does not depend on it.
// Joined to expert_rows. Grid: one workgroup.

const MOST = 1024u;
const NONE = 0xffffffffu;

@group(1) @binding(0) var<storage, read_write> owners: array<u32>;
@group(1) @binding(1) var<storage, read_write> order: array<u32>;

var<workgroup> counts: array<atomic<u32>, MOST>;
var<workgroup> places: array<atomic<u32>, MOST>;

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) thread: u32) {
  for (var pair = thread; pair < params.pairCount; pair += THREADS) {
    atomicAdd(&counts[expertOf(pair)], 1u);
  }
  for (var block = thread; block < params.blocks; block += THREADS) {
    owners[block] = NONE;
  }
  for (var at = thread; at < params.blocks * ROWS; at += THREADS) {
    order[at] = NONE;
  }
  workgroupBarrier();
  storageBarrier();
  if (thread == 0u) {
    var block = 0u;
    for (var expert = 0u; expert < params.experts; expert++) {
      atomicStore(&places[expert], block * ROWS);
      let end = block + (atomicLoad(&counts[expert]) + ROWS - 1u) / ROWS;
      for (; block < end; block++) {
        owners[block] = expert;
      }
    }
  }
  workgroupBarrier();
  for (var pair = thread; pair < params.pairCount; pair += THREADS) {
    order[atomicAdd(&places[expertOf(pair)], 1u)] = pair;
  }
}
