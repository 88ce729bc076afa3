/** Some of the rows: those that the last block computes to its end, or those that are unembedded; and back. */
import { selectRows, spreadRows } from "../kernels/elementwise.ts";
import type { View } from "../kernels/view.ts";
import type { Bindings } from "./bindings.ts";
import { defineOp, type ReferenceCall, sameShape, type Value } from "./op.ts";

interface SelectAttributes {
  readonly rows: "output" | "picked";
}

/** The rows that are kept, by their place among those that they are selected from. */
function keptRows({ rows }: SelectAttributes, { outputRows, picked }: Bindings): readonly number[] {
  return (rows === "output" ? outputRows : picked) as readonly number[];
}

/** For each row of the result the input's row of the same position; zero where it has none. */
function sameRows({
  inputs: [x],
  inputShapes: [shape],
  inputRows: [from],
  rows,
}: ReferenceCall<unknown>): Float64Array {
  const { heads, width } = shape as { heads: number; width: number };
  const size = heads * width;
  const out = new Float64Array(rows.count * size);
  for (let row = 0; row < rows.count; row++) {
    const source = from?.indexOf(rows.sequence(row), rows.position(row)) as number;
    if (source >= 0) out.set((x as Float64Array).subarray(source * size, (source + 1) * size), row * size);
  }
  return out;
}

export const SELECT = defineOp<SelectAttributes>({
  name: "select",
  formula: "x[some rows]",
  shapes: sameShape,
  reference: (call) => [sameRows(call)],
  vjp: ({ op: { inputs, attributes }, grads, sink }) => [
    sink.one(UNSELECT, grads as [Value], attributes, undefined, inputs[0]?.rows),
  ],
  lower({ recorder, attributes, inputs, outputs, bindings }) {
    selectRows(recorder, inputs[0] as View, keptRows(attributes, bindings), outputs[0] as View);
  },
});

/** The gradient of a selection's input: zero in the rows that were dropped. */
export const UNSELECT = defineOp<SelectAttributes>({
  name: "unselect",
  formula: "x at its rows, 0 at the others",
  shapes: sameShape,
  writesViews: true,
  reference: (call) => [sameRows(call)],
  lower({ recorder, attributes, inputs, outputs, rows, bindings }) {
    spreadRows(recorder, inputs[0] as View, keptRows(attributes, bindings), rows.count, outputs[0] as View);
  },
});
