// Elements that are four numbers each, and functions of each number. An invocation then does four times as much for one look
// at where it is: gate.wgsl and gate_gradient.wgsl on 2112 rows of 128, milliseconds on lavapipe: see docs/decisions.md.

alias Element = vec4<f32>;

fn activateEach(x: Element) -> Element {
  return Element(activate(x.x), activate(x.y), activate(x.z), activate(x.w));
}

fn slopeEach(x: Element) -> Element {
  return Element(slope(x.x), slope(x.y), slope(x.z), slope(x.w));
}
