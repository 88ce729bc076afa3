// What metrics read: logits and a reference, and the log of the sum of exp of a row of either. Joined to normalizer.wgsl and to
// kernels with bindings `logits` and `reference`, and `vocab` among their parameters.

const LOGITS = 0u;
const REFERENCE = 1u;

fn numberAt(source: u32, index: u32) -> f32 {
  if (source == REFERENCE) {
    return reference[index];
  }
  return logits[index];
}

fn logSumExp(source: u32, start: u32, thread: u32) -> f32 {
  let parts = normalizer(source, start, params.vocab, thread);
  return parts.x + parts.y;
}
