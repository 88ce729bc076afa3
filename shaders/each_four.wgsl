// Elements that are four numbers each, and functions of each number. An invocation then does four times as much for one look
// at where it is: gates of 3168 rows of 128 took 2.3 ms number by number and 1.0 in fours on lavapipe, their gradients 3.5 and 1.5.

alias Element = vec4<f32>;

fn activateEach(x: Element) -> Element {
  return Element(activate(x.x), activate(x.y), activate(x.z), activate(x.w));
}

fn slopeEach(x: Element) -> Element {
  return Element(slope(x.x), slope(x.y), slope(x.z), slope(x.w));
}
