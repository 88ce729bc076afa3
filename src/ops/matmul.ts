/**
 * Projections: x W^T + b, and what may happen to the result on its way out of the kernel. The factors, the nonlinearity, the
 * soft cap, the addition to the residual, the gate and the store of keys and values get here by fusion.
 */
import type { Tensor } from "../gpu/tensor.ts";
import { type Activation, type MatmulOptions, matmul, projectHeads } from "../kernels/calls.ts";
import { matmulTransposed, unprojectHeads } from "../kernels/gradients.ts";
import { rowBlocks } from "../kernels/row-blocks.ts";
import type { View } from "../kernels/view.ts";
import { ACTIVATIONS, softCapped } from "./activations.ts";
import { type Bindings, cacheBuffers } from "./bindings.ts";
import { sideBySide } from "./concat.ts";
import { defineOp, type OpKind, type Shape, type Value, type WeightRef } from "./op.ts";
import { HEAD_WEIGHT_GRADIENT, VECTOR_GRADIENT, WEIGHT_GRADIENT } from "./weight-gradients.ts";

export interface MatmulAttributes {
  readonly weight: WeightRef;
  readonly bias?: WeightRef | undefined;
  /** What lies side by side in a row of the result, each an output: queries, keys and values; or one. */
  readonly parts: readonly Shape[];
  /** out = cap(act((x W^T + b) * scale)), before it is combined. */
  readonly scale?: number;
  readonly activation?: Activation;
  readonly softCap?: number;
  /** The second input is added, or multiplied by. */
  readonly combine?: "add" | "multiply";
  /** The layer in whose cache the last two parts, keys and values, are stored. */
  readonly storeIn?: number;
  /** x W, which takes the gradient of a projection's result to that of its input. */
  readonly transposed?: boolean;
}

export const MATMUL: OpKind<MatmulAttributes> = defineOp<MatmulAttributes>({
  name: "matmul",
  formula: "x W^T + b",
  shapes: (_, { parts }) => parts,
  inPlace: ({ combine }) => (combine ? [1] : []),
  reference({ attributes, inputs: [x, target], inputShapes: [shape], rows, weight }) {
    const { parts, scale = 1, activation = "identity", softCap, combine, transposed } = attributes;
    const W = weight(attributes.weight) as Float64Array;
    const b = weight(attributes.bias);
    const width = (shape?.heads as number) * (shape?.width as number);
    const outWidth = W.length / width;
    const project = (row: number, n: number) => {
      let sum = b?.[n] ?? 0;
      for (let k = 0; k < width; k++) {
        sum += (x?.[row * width + k] as number) * (W[transposed ? k * outWidth + n : n * width + k] as number);
      }
      return softCapped(ACTIVATIONS[activation](sum * scale), softCap);
    };
    let first = 0;
    return parts.map((part) => {
      const size = part.heads * (part.width as number);
      const start = first;
      first += size;
      return Float64Array.from({ length: rows.count * size }, (_, i) => {
        const value = project(Math.floor(i / size), start + (i % size));
        if (combine === "add") return (target?.[i] as number) + value;
        return combine === "multiply" ? (target?.[i] as number) * value : value;
      });
    });
  },
  vjp({ op: { attributes, inputs }, grads, sink, wants, wantsWeight }) {
    const { weight, bias, parts } = attributes;
    const x = inputs[0] as Value;
    const dy = sideBySide(sink, parts, grads);
    if (wantsWeight(weight)) sink.add(WEIGHT_GRADIENT, [dy, x], { weight });
    if (bias && wantsWeight(bias)) sink.add(VECTOR_GRADIENT, [dy], { weight: bias });
    const input = { weight, parts: [{ heads: x.heads, width: x.width }], transposed: true };
    return [wants(0) ? sink.one(MATMUL, [dy], input) : undefined];
  },
  lower({ recorder, attributes, inputs, outputs, rows, rowTable, weights, bindings }) {
    const [x] = inputs as [View];
    const [out] = outputs as [View];
    const W = weights.matrix(attributes.weight);
    if (attributes.transposed) {
      matmulTransposed(recorder, x, rows.count, W, out, attributes);
      return;
    }
    for (const { first, rows: count, slice, outStart } of rowBlocks(recorder.gpu, out, rows.count)) {
      matmul(recorder, x.buffer, count, W, slice, {
        bias: weights.vector(attributes.bias),
        activation: attributes.activation,
        combine: attributes.combine,
        scale: attributes.scale,
        softCap: attributes.softCap,
        rowStart: x.start + first * x.rowStride,
        rowStride: x.rowStride,
        outStart,
        outStride: out.rowStride,
        cache: cacheOf(attributes, rowTable, bindings),
      });
    }
  },
});

function cacheOf({ storeIn, parts }: MatmulAttributes, rowTable: Tensor, bindings: Bindings): MatmulOptions["cache"] {
  if (storeIn === undefined) return undefined;
  const { keys, values } = cacheBuffers(bindings, storeIn);
  const { heads, width } = parts[1] as Shape;
  return { rowTable, keys, values, kvWidth: heads * (width as number) };
}

/** Each head's own part of what attention adds: W_O's columns of the head times its z. */
export const HEAD_RESULTS = defineOp<{ weight: WeightRef; dModel: number }>({
  name: "headResults",
  formula: "W_O[head] z[head]",
  shapes: ([z], { dModel }) => [{ heads: z?.heads ?? 1, width: dModel }],
  reference({ attributes: { weight: ref, dModel }, inputs: [z], inputShapes: [shape], rows, weight }) {
    const W = weight(ref) as Float64Array;
    const { heads, width } = shape as { heads: number; width: number };
    return [
      Float64Array.from({ length: rows.count * heads * dModel }, (_, i) => {
        const [d, head, row] = [i % dModel, Math.floor(i / dModel) % heads, Math.floor(i / dModel / heads)];
        let sum = 0;
        for (let k = 0; k < width; k++) {
          sum += (z?.[(row * heads + head) * width + k] as number) * (W[(d * heads + head) * width + k] as number);
        }
        return sum;
      }),
    ];
  },
  vjp({ op: { attributes, inputs }, grads, sink, wants, wantsWeight }) {
    const { weight } = attributes;
    const [z] = inputs as [Value];
    const [dResult] = grads as [Value];
    if (wantsWeight(weight)) sink.add(HEAD_WEIGHT_GRADIENT, [dResult, z], { weight });
    return [wants(0) ? sink.one(HEAD_GRADIENTS, [dResult], { weight, width: z.width as number }) : undefined];
  },
  lower({ recorder, attributes: { weight }, inputs, outputs, rows, weights }) {
    const { buffer, heads } = inputs[0] as View;
    projectHeads(recorder, buffer, rows.count, weights.matrix(weight), heads, (outputs[0] as View).buffer);
  },
});

/** The gradient of z, given those of the heads' results. */
export const HEAD_GRADIENTS = defineOp<{ weight: WeightRef; width: number }>({
  name: "headGradients",
  formula: "result[head] W_O[head]",
  shapes: ([result], { width }) => [{ heads: result?.heads ?? 1, width }],
  reference({ attributes: { weight: ref, width }, inputs: [result], inputShapes: [shape], rows, weight }) {
    const W = weight(ref) as Float64Array;
    const { heads, width: dModel } = shape as { heads: number; width: number };
    return [
      Float64Array.from({ length: rows.count * heads * width }, (_, i) => {
        const [k, head, row] = [i % width, Math.floor(i / width) % heads, Math.floor(i / width / heads)];
        let sum = 0;
        for (let d = 0; d < dModel; d++) {
          sum +=
            (result?.[(row * heads + head) * dModel + d] as number) * (W[(d * heads + head) * width + k] as number);
        }
        return sum;
      }),
    ];
  },
  lower({ recorder, attributes: { weight }, inputs, outputs, rows, weights }) {
    unprojectHeads(recorder, inputs[0] as View, rows.count, weights.matrix(weight), outputs[0] as View);
  },
});
