/** Some of the rows: those that the last block computes to its end, or those that are unembedded. */
import { selectRows } from "../kernels/elementwise.ts";
import type { View } from "../kernels/view.ts";
import { defineOp, sameShape } from "./op.ts";

export const SELECT = defineOp<{ rows: "output" | "picked" }>({
  name: "select",
  formula: "x[some rows]",
  shapes: sameShape,
  reference({ inputs: [x], inputShapes: [shape], inputRows: [from], rows }) {
    const { heads, width } = shape as { heads: number; width: number };
    const size = heads * width;
    const out = new Float64Array(rows.count * size);
    for (let row = 0; row < rows.count; row++) {
      const source = from?.indexOf(rows.sequence(row), rows.position(row)) as number;
      out.set((x as Float64Array).subarray(source * size, (source + 1) * size), row * size);
    }
    return [out];
  },
  lower({ recorder, attributes, inputs, outputs, bindings }) {
    const keep = (attributes.rows === "output" ? bindings.outputRows : bindings.picked) as readonly number[];
    selectRows(recorder, inputs[0] as View, keep, outputs[0] as View);
  },
});
