/**
 * Queries times a number that grows with their position, so that attention stays sharp over long texts: 1 + factor *
 * log(1 + floor((position + shift) / span)) (Llama 4, after Nakanishi 2025, arXiv 2501.19399; ministral3).
 */
import { positionScale } from "../kernels/head-elements.ts";
import type { View } from "../kernels/view.ts";
import { defineOp, type OpKind, sameShape, type Value } from "./op.ts";

interface PositionScaleAttributes {
  readonly factor: number;
  readonly span: number;
  readonly shift: number;
}

export const POSITION_SCALE: OpKind<PositionScaleAttributes> = defineOp<PositionScaleAttributes>({
  name: "positionScale",
  formula: "x (1 + factor log(1 + floor((position + shift) / span)))",
  shapes: sameShape,
  inPlace: () => [0],
  writesViews: true,
  reference({ attributes: { factor, span, shift }, inputs: [x], inputShapes: [shape], rows }) {
    const { heads, width } = shape as { heads: number; width: number };
    return [
      (x as Float64Array).map((value, i) => {
        const position = rows.position(Math.floor(i / (heads * width)));
        return value * (1 + factor * Math.log(1 + Math.floor((position + shift) / span)));
      }),
    ];
  },
  vjp: ({ op: { attributes }, grads, sink }) => [sink.one(POSITION_SCALE, grads as [Value], attributes)],
  lower({ recorder, attributes, outputs, rows, rowTable }) {
    positionScale(recorder, outputs[0] as View, rows.count, rowTable, attributes);
  },
});
