/** Every element times a number of the model: what gemma4's blocks do to the residual after them. It is no parameter, and has no gradient. */
import type { Tensor } from "../gpu/tensor.ts";
import { scaleBy } from "../kernels/scale-by.ts";
import type { View } from "../kernels/view.ts";
import { defineOp, type OpKind, sameShape, type Value, type WeightRef } from "./op.ts";

export const SCALE_BY: OpKind<{ weight: WeightRef }> = defineOp<{ weight: WeightRef }>({
  name: "scaleBy",
  formula: "x * w",
  shapes: sameShape,
  inPlace: () => [0],
  reference: ({ attributes: { weight: ref }, inputs: [x], weight }) => [
    (x as Float64Array).map((value) => value * (weight(ref)?.[0] as number)),
  ],
  vjp: ({ op: { attributes }, grads, sink }) => [sink.one(SCALE_BY, grads as [Value], attributes)],
  lower({ recorder, attributes: { weight }, outputs, rows, weights }) {
    scaleBy(recorder, outputs[0] as View, rows.count, weights.vector(weight) as Tensor);
  },
});
