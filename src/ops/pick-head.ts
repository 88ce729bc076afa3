/** One vector of those that a row has side by side: the embedding that a block has for itself (gemma4). */
import { copy } from "../kernels/elementwise.ts";
import type { View } from "../kernels/view.ts";
import { sideBySide } from "./concat.ts";
import { RESHAPE } from "./dictionary.ts";
import { defineOp, type Value } from "./op.ts";

export const PICK_HEAD = defineOp<{ head: number }>({
  name: "pickHead",
  formula: "x[head]",
  shapes: ([x]) => [{ heads: 1, width: x?.width as number }],
  reference({ attributes: { head }, inputs: [x], inputShapes: [shape], rows }) {
    const { heads, width } = shape as { heads: number; width: number };
    const out = new Float64Array(rows.count * width);
    return [out.map((_, i) => x?.[(Math.floor(i / width) * heads + head) * width + (i % width)] as number)];
  },
  vjp({ op: { attributes, inputs }, grads, sink }) {
    const { heads, width } = inputs[0] as Value;
    const each = Array.from({ length: heads }, (_, head) => (head === attributes.head ? grads[0] : undefined));
    const whole = sideBySide(
      sink,
      Array.from({ length: heads }, () => ({ heads: 1, width })),
      each,
    );
    return [heads === 1 ? whole : sink.one(RESHAPE, [whole], { heads, width })];
  },
  lower({ recorder, attributes: { head }, inputs, outputs, rows }) {
    const x = inputs[0] as View;
    copy(recorder, { ...x, heads: 1, start: x.start + head * x.headStride }, outputs[0] as View, rows.count);
  },
});
