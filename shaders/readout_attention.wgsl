// Sums over the keys of each attention row a[key] of a pattern [batch, head, query, key], for summaries and head scores:
// out[row] = (total, entropy in nats, distance sum a (q - key), a[0], previous a[q - 1],
//             duplicate: keys before q with q's token, induction: keys whose predecessor has q's token).
// Keys from `firstKey` on count, up to q or, unless CAUSAL, to the end, and key q unless SKIP_CURRENT. In `distance` keys after q
// count as negative. queryPositions [batch, query]: the position q of each
// query, NO_QUERY where there is none (its sums are zero); tokens [batch, key], read when HAS_TOKENS.
// One workgroup of 64 a row, folded into y.

struct Params {
  rowCount: u32,
  nHeads: u32,
  queries: u32,
  keys: u32,
  firstKey: u32,
}

override HAS_TOKENS: bool = false;
override CAUSAL: bool = true;
override SKIP_CURRENT: bool = false;

const NO_QUERY = 0xffffffffu;
const SUMS = 7u;

@group(0) @binding(0) var<uniform> params: Params;
@group(1) @binding(0) var<storage, read> pattern: array<f32>;
@group(1) @binding(1) var<storage, read> queryPositions: array<u32>;
@group(1) @binding(2) var<storage, read> tokens: array<u32>;
@group(1) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) grid: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let row = group.y * grid.x + group.x;
  if (row >= params.rowCount) {
    return;
  }
  let sequence = row / params.queries / params.nHeads;
  let position = queryPositions[sequence * params.queries + row % params.queries];
  let end = select(select(params.keys, position + 1u, CAUSAL), 0u, position == NO_QUERY);
  let start = row * params.keys;
  let text = sequence * params.keys;
  var sums: array<f32, SUMS>;
  for (var key = params.firstKey + thread; key < end; key += 64u) {
    let a = pattern[start + key];
    if (SKIP_CURRENT && key == position) {
      continue;
    }
    sums[0] += a;
    if (a > 0.0) {
      sums[1] -= a * log(a);
    }
    sums[2] += a * (f32(position) - f32(key));
    sums[3] += select(0.0, a, key == 0u);
    sums[4] += select(0.0, a, key + 1u == position);
    if (HAS_TOKENS) {
      let token = tokens[text + position];
      sums[5] += select(0.0, a, key < position && tokens[text + key] == token);
      sums[6] += select(0.0, a, key > 0u && key <= position && tokens[text + max(key, 1u) - 1u] == token);
    }
  }
  for (var i = 0u; i < SUMS; i++) {
    let sum = reduceSum(thread, sums[i]);
    if (thread == 0u) {
      out[row * SUMS + i] = sum;
    }
  }
}
