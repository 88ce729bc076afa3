// Changes activations in place: x = op(x, v) at chosen (row, head) vectors and dimensions; see edit_shared.wgsl.
// Codes: 0 set, 1 add, 2 scale, 3 zero, 4 lerp, 5 expression. The function `expression` is joined to this file.
// Grid: x = ceil(targetCount * dimCount / 64), folded into y.

override OP: u32 = 0u;
// Without: the point has no heads, and heads read copies of it; h of the expression is 0.
override HAS_HEADS: bool = true;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>) {
  let index = id.y * grid.x * 64u + id.x;
  if (index >= params.targetCount * params.dimCount) {
    return;
  }
  let entry = targets[index / params.dimCount];
  let i = index % params.dimCount;
  let d = dimension(i);
  if (!isPresent(entry, d)) {
    return;
  }
  let value = valueAt(entry, i, d);
  let at = params.start + entry.row * params.rowStride + entry.head * params.headStride + d;
  let old = x[at];
  switch OP {
    case 0u: { x[at] = value; }
    case 1u: { x[at] = old + entry.alpha * value; }
    case 2u: { x[at] = old * value; }
    case 3u: { x[at] = 0.0; }
    case 4u: { x[at] = old + entry.alpha * (value - old); }
    default: {
      let h = select(0u, entry.head, HAS_HEADS);
      x[at] = expression(old, value, entry.sequence, entry.position, h, d);
    }
  }
}
