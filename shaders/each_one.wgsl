// Elements that are numbers, and functions of each: see each_four.wgsl.

alias Element = f32;

fn activateEach(x: Element) -> Element {
  return activate(x);
}

fn slopeEach(x: Element) -> Element {
  return slope(x);
}
