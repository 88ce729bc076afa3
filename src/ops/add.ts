/** x + scale * term, in place of x: what attention and the MLP do to the residual stream. */
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { combine } from "../kernels/calls.ts";
import { copy } from "../kernels/elementwise.ts";
import { isPacked, packedView, type View } from "../kernels/view.ts";
import { SCALE } from "./elementwise.ts";
import { defineOp, sameShape, type Value } from "./op.ts";

export const ADD = defineOp<{ scale: number }>({
  name: "add",
  formula: "x + scale * term",
  shapes: sameShape,
  inPlace: () => [0],
  reference: ({ inputs: [x, term], attributes: { scale } }) => [
    (x as Float64Array).map((value, i) => value + scale * ((term as Float64Array)[i] as number)),
  ],
  vjp({ op: { attributes }, grads, sink }) {
    const [dy] = grads as [Value];
    return [dy, attributes.scale === 1 ? dy : sink.one(SCALE, [dy], attributes)];
  },
  lower({ recorder, attributes: { scale }, inputs, outputs, rows }) {
    const out = outputs[0] as View;
    const term = inputs[1] as View;
    const [x, y] = [out, term].map((view) => packedCopy(recorder, view, rows.count));
    combine(recorder, y ?? term.buffer, x ?? out.buffer, rows.count * out.heads * out.width, "add", scale);
    if (x) copy(recorder, packedView(x, out.width, out.heads), out, rows.count);
    for (const own of [x, y]) if (own) recorder.release(own);
  },
});

/** The rows of a view one behind the other, where they are not: the results of one op lie side by side. */
function packedCopy(recorder: Recorder, view: View, rows: number): Tensor | undefined {
  if (isPacked(view) && view.start === 0) return undefined;
  const own = recorder.temp(rows, view.heads * view.width);
  copy(recorder, view, packedView(own, view.width, view.heads), rows);
  return own;
}
