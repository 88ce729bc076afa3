/** The sum of what the heads add, and the bias of the output projection. */
import { sumHeads } from "../kernels/calls.ts";
import { copy } from "../kernels/elementwise.ts";
import type { View } from "../kernels/view.ts";
import { defineOp, type OpKind, type Value, type WeightRef } from "./op.ts";
import { VECTOR_GRADIENT } from "./weight-gradients.ts";

export const SUM_HEADS: OpKind<{ bias?: WeightRef }> = defineOp<{ bias?: WeightRef }>({
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
  vjp({ op: { attributes, inputs }, grads, sink, wantsWeight }) {
    const [dy] = grads as [Value];
    if (attributes.bias && wantsWeight(attributes.bias)) sink.add(VECTOR_GRADIENT, [dy], { weight: attributes.bias });
    return [sink.one(REPEAT_HEADS, [dy], { heads: inputs[0]?.heads as number })];
  },
  lower({ recorder, attributes, inputs, outputs, rows, weights }) {
    const { buffer, heads, width } = inputs[0] as View;
    sumHeads(recorder, buffer, rows.count, heads, width, weights.vector(attributes.bias), (outputs[0] as View).buffer);
  },
});

/** A copy for every head: of the residual that each reads, and of the gradient of what they add. */
export const REPEAT_HEADS = defineOp<{ heads: number }>({
  name: "repeatHeads",
  formula: "x for every head",
  shapes: ([x], { heads }) => [{ heads, width: x?.width as number }],
  reference({ inputs: [x], outputShapes: [shape], rows }) {
    const { heads, width } = shape as { heads: number; width: number };
    return [
      Float64Array.from(
        { length: rows.count * heads * width },
        (_, i) => x?.[Math.floor(i / width / heads) * width + (i % width)] as number,
      ),
    ];
  },
  vjp: ({ op: { attributes }, grads, sink }) => [
    attributes.heads === 1 ? grads[0] : sink.one(SUM_HEADS, grads as [Value], {}),
  ],
  lower({ recorder, inputs, outputs, rows }) {
    const [out] = outputs as [View];
    copy(recorder, { ...(inputs[0] as View), heads: out.heads, headStride: 0 }, out, rows.count);
  },
});
