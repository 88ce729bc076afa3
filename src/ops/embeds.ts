/** Embeddings that the caller supplies in place of the tokens'. */
import { gather } from "../kernels/calls.ts";
import { packedView, type View } from "../kernels/view.ts";
import { defineOp } from "./op.ts";

export const EMBEDS = defineOp<{ width: number }>({
  name: "embeds",
  formula: "inputsEmbeds[row]",
  shapes: (_, { width }) => [{ heads: 1, width }],
  reference: ({ pass }) => [pass.embeds as Float64Array],
  vjp: () => [],
  lower({ recorder, attributes: { width }, outputs, rows, bindings }) {
    const { tensor, firstRow } = bindings.embeds as NonNullable<typeof bindings.embeds>;
    const whole = recorder.upload(new Uint32Array([0, 0]));
    // Only the rows of this pass are bound, since all of them may exceed a binding; it starts at a multiple of 256 bytes.
    const start = (firstRow * width) % 64;
    const offset = (firstRow * width - start) * 4;
    const slice = { buffer: tensor.buffer, offset, size: (start + rows.count * width) * 4 };
    const all = rows.count * width;
    gather(recorder, packedView(slice, all, 1, start), packedView((outputs[0] as View).buffer, all), whole);
  },
});
