/** Rows that join a pass at a layer: the residual that another run had there is put below that of the rows before them. */
import { gather } from "../kernels/calls.ts";
import { packedView, type View } from "../kernels/view.ts";
import { defineOp } from "./op.ts";

export const JOIN = defineOp<{ layer: number }>({
  name: "join",
  formula: "x, and the rows that join here",
  shapes: ([x]) => [{ heads: 1, width: x?.width ?? 0 }],
  inPlace: () => [0],
  lower({ recorder, attributes: { layer }, outputs, rows, bindings }) {
    const joining = bindings.joining as NonNullable<typeof bindings.joining>;
    const pairs: number[] = [];
    for (let row = 0; row < rows.count; row++) {
      if (joining.layers[row] === layer) pairs.push(joining.sources[row] as number, row);
    }
    if (pairs.length === 0) return;
    const target = outputs[0] as View;
    const source = packedView(joining.residual(layer), target.width);
    gather(recorder, source, target, recorder.upload(Uint32Array.from(pairs)));
  },
});
