// The same for four pairs at a time.

alias Element = vec4<f32>;

@group(1) @binding(1) var<storage, read> ropeTable: array<mat4x2<f32>>;

struct Angle {
  cosine: Element,
  sine: Element,
}

fn angleAt(index: u32) -> Angle {
  let pairs = transpose(ropeTable[index]);
  return Angle(pairs[0], pairs[1]);
}
