// Attention's gradients by tiles, for GPUs and for CPUs without subgroups. A workgroup takes ROWS rows of one sequence and one
// head, and walks what they meet in tiles of TILE vectors in workgroup memory. SHARE neighbouring invocations hold one row
// together: invocation i of them takes four vectors of the tile at a time from 4 i on, and then sums the vec4 i, i + SHARE, … of
// the result. Every sum has one order, so runs agree to the bit.
// D4: vec4 of a head. Loops over a head stay loops: see attention_rows.wgsl.

const THREADS = ROWS * SHARE;
const OWN4 = (D4 + SHARE - 1u) / SHARE;
const FOUR_ON = vec4<u32>(0u, 1u, 2u, 3u);
