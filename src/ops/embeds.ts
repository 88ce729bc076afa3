/** Embeddings that the caller supplies in place of the tokens'. */
import { gather } from "../kernels/calls.ts";
import type { View } from "../kernels/view.ts";
import { defineOp } from "./op.ts";

export const EMBEDS = defineOp<{ width: number }>({
  name: "embeds",
  formula: "inputsEmbeds[row]",
  shapes: (_, { width }) => [{ heads: 1, width }],
  reference: ({ pass }) => [pass.embeds as Float64Array],
  lower({ recorder, attributes: { width }, outputs, rows, bindings }) {
    const { tensor, firstRow } = bindings.embeds as NonNullable<typeof bindings.embeds>;
    const whole = recorder.upload(new Uint32Array([0, 0]));
    // Only the rows of this pass are bound, since all of them may exceed a binding; it starts at a multiple of 256 bytes.
    const start = (firstRow * width) % 64;
    const offset = (firstRow * width - start) * 4;
    const slice = { buffer: tensor.buffer, offset, size: (start + rows.count * width) * 4 };
    const target = { buffer: (outputs[0] as View).buffer, rowStride: 0 };
    gather(recorder, { buffer: slice, start, rowStride: 0 }, target, whole, 1, rows.count * width);
  },
});
