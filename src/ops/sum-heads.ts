/** The sum of what the heads add, and the bias of the output projection. */
import { sumHeads } from "../kernels/calls.ts";
import type { View } from "../kernels/view.ts";
import { defineOp, type WeightRef } from "./op.ts";

export const SUM_HEADS = defineOp<{ bias: WeightRef }>({
  name: "sumHeads",
  formula: "sum over heads of result + b",
  shapes: ([result]) => [{ heads: 1, width: result?.width as number }],
  reference({ attributes, inputs: [result], inputShapes: [shape], rows, weight }) {
    const { heads, width } = shape as { heads: number; width: number };
    const bias = weight(attributes.bias);
    return [
      Float64Array.from({ length: rows.count * width }, (_, i) => {
        let sum = bias?.[i % width] ?? 0;
        for (let head = 0; head < heads; head++) {
          sum += result?.[(Math.floor(i / width) * heads + head) * width + (i % width)] as number;
        }
        return sum;
      }),
    ];
  },
  lower({ recorder, attributes, inputs, outputs, rows, weights }) {
    const { buffer, heads, width } = inputs[0] as View;
    sumHeads(recorder, buffer, rows.count, heads, width, weights.vector(attributes.bias), (outputs[0] as View).buffer);
  },
});
