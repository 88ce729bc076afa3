// Cosines and sines of pairs that lie one after the other: see rope_store.wgsl.

alias Element = f32;

@group(1) @binding(1) var<storage, read> ropeTable: array<vec2<f32>>;

struct Angle {
  cosine: Element,
  sine: Element,
}

fn angleAt(index: u32) -> Angle {
  let pair = ropeTable[index];
  return Angle(pair.x, pair.y);
}
