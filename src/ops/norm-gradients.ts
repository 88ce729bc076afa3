/**
 * Gradients of norms. With y = (x - mean) / s, s = sqrt(mean((x - mean)^2) + eps) and g the gradient of y,
 *
 *   dx = (g - mean(g) - y mean(g y)) / s          RMSNorm: without the two means of x and g
 *
 * in one step, and in the steps between which people look: of s, and of y with s held fixed.
 */
import type { NormSpec } from "../kernels/norm.ts";
import { divisorGradient, normGradient, normScaleGradient } from "../kernels/norm-gradients.ts";
import type { View } from "../kernels/view.ts";
import { normalized } from "./norm-reference.ts";
import { defineOp, type Lowering, type ReferenceCall, sameShape, type Value, type WeightRef } from "./op.ts";

interface NormGradientAttributes {
  readonly spec: NormSpec;
  readonly weights: WeightRef;
}

/** Applies `f` to the vectors of the inputs. */
function byRow(
  { inputs, inputShapes }: ReferenceCall<unknown>,
  f: (...vectors: Float64Array[]) => ArrayLike<number>,
): Float64Array {
  const out: number[] = [];
  const count = (inputs[0] as Float64Array).length / (inputShapes[0]?.width as number);
  for (let at = 0; at < count; at++) {
    const vectors = inputs.map((x, index) => {
      const { width } = inputShapes[index] as { width: number };
      return x.subarray(at * width, (at + 1) * width);
    });
    out.push(...Array.from(f(...vectors)));
  }
  return Float64Array.from(out);
}

export const mean = (x: Float64Array) => x.reduce((sum, value) => sum + value, 0) / x.length;
const dot = (x: Float64Array, y: Float64Array) => x.reduce((sum, value, i) => sum + value * (y[i] as number), 0);

/** The gradient of x, given that of the normalized vector: the formula above. */
export function normInputGradient(x: Float64Array, g: Float64Array, spec: NormSpec): Float64Array {
  const { scale, values: y } = normalized(x, spec);
  const centre = spec.kind === "layer" ? mean(g) : 0;
  const along = dot(g, y) / g.length;
  return g.map((value, i) => (value - centre - (y[i] as number) * along) / scale);
}

/** Inputs x and dy, in place of which it computes; `forWeight`: a second output, dy * y, whose sum is the weight's gradient. */
export const NORM_GRADIENT = defineOp<NormGradientAttributes & { forWeight: boolean }>({
  name: "normGradient",
  formula: "d norm(x) / dx · dy (, dy * y)",
  shapes: ([x], { forWeight }) => (forWeight ? [x as Value, x as Value] : [x as Value]),
  inPlace: () => [1],
  reference(call) {
    const { spec, weights, forWeight } = call.attributes;
    const w = call.weight(weights, "w");
    const dx = byRow(call, (x, dy) => {
      const g = dy.map((value, d) => value * (w ? (w[d] as number) + spec.weightOffset : 1));
      return normInputGradient(x, g, spec);
    });
    const product = () => byRow(call, (x, dy) => normalized(x, spec).values.map((y, d) => y * (dy[d] as number)));
    return forWeight ? [dx, product()] : [dx];
  },
  lower({ recorder, attributes: { spec, weights: ref }, inputs, outputs, rows, weights }) {
    const [x] = inputs as [View];
    const [dx, product] = outputs as [View, View | undefined];
    normGradient(recorder, x, dx, rows.count, spec, weights.norm(ref), product?.buffer);
  },
});

/** Inputs x, its scale s and ds: dx = ds (x - mean) / (width s). */
export const NORM_SCALE_GRADIENT = defineOp<NormGradientAttributes>({
  name: "normScaleGradient",
  formula: "ds (x - mean) / (width s)",
  shapes: sameShape,
  reference: (call) => [
    byRow(call, (x, s, ds) => {
      const centre = call.attributes.spec.kind === "layer" ? mean(x) : 0;
      return x.map((value) => ((ds[0] as number) * (value - centre)) / (x.length * (s[0] as number)));
    }),
  ],
  lower({ recorder, attributes: { spec }, inputs, outputs, rows }: Lowering<NormGradientAttributes>) {
    const [x, s, ds] = inputs as [View, View, View];
    normScaleGradient(recorder, x, s, ds, rows.count, spec, outputs[0] as View);
  },
});

/** Inputs s, y = x / s and dy: ds = -(dy · y) / s. */
export const DIVISOR_GRADIENT = defineOp<object>({
  name: "divisorGradient",
  formula: "-(dy · y) / s",
  shapes: sameShape,
  reference: (call) => [byRow(call, (s, y, dy) => [-dot(dy, y) / (s[0] as number)])],
  lower({ recorder, inputs, outputs, rows }) {
    const [s, y, dy] = inputs as [View, View, View];
    divisorGradient(recorder, s, y, dy, rows.count, outputs[0] as View);
  },
});
