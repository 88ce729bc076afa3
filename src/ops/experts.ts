/** Matmuls in which each row has matrices of its own: those of the experts that it goes through. */
import {
  addExpertsBiasGradient,
  addExpertsGradient,
  expertsMatmul,
  expertsMatmulTransposed,
} from "../kernels/experts.ts";
import type { View } from "../kernels/view.ts";
import { gradientsOf } from "./bindings.ts";
import { defineOp, type OpKind, type ReferenceCall, type Value, type WeightRef } from "./op.ts";
import { SUM_HEADS } from "./sum-heads.ts";

export interface ExpertMatmulAttributes {
  /** The experts' matrices, stacked: [experts * width, width of x]. */
  readonly weight: WeightRef;
  /** [experts * width]. */
  readonly bias?: WeightRef | undefined;
  readonly experts: number;
  /** Of the result. */
  readonly width: number;
}

/** A pair of a row and a slot: where its vector of an input begins, and its expert. */
function* pairsOf(
  { inputs, inputShapes, rows, attributes }: ReferenceCall<{ experts: number }>,
  x: number,
  choice: number,
) {
  const { heads, width } = inputShapes[x] as { heads: number; width: number };
  const slots = inputShapes[choice]?.width as number;
  for (let row = 0; row < rows.count; row++) {
    for (let slot = 0; slot < slots; slot++) {
      const own = inputs[choice]?.[row * slots + slot] as number;
      const expert = Math.min(Math.max(Math.round(own), 0), attributes.experts - 1);
      yield { pair: row * slots + slot, start: (row * heads + (heads === 1 ? 0 : slot)) * width, expert };
    }
  }
}

/** Inputs x [row, slot or one, width] and the experts' numbers [row, slot]. */
export const EXPERT_MATMUL: OpKind<ExpertMatmulAttributes> = defineOp<ExpertMatmulAttributes>({
  name: "expertMatmul",
  formula: "W[expert of slot] x[slot] + b[expert of slot]",
  shapes: ([, indices], { width }) => [{ heads: indices?.width as number, width }],
  reference(call) {
    const { attributes, inputs, inputShapes, rows, weight } = call;
    const W = weight(attributes.weight) as Float64Array;
    const b = weight(attributes.bias);
    const inner = inputShapes[0]?.width as number;
    const { width } = attributes;
    const out = new Float64Array(rows.count * (inputShapes[1]?.width as number) * width);
    for (const { pair, start, expert } of pairsOf(call, 0, 1)) {
      for (let n = 0; n < width; n++) {
        const stacked = expert * width + n;
        let sum = b?.[stacked] ?? 0;
        for (let k = 0; k < inner; k++) sum += (inputs[0]?.[start + k] as number) * (W[stacked * inner + k] as number);
        out[pair * width + n] = sum;
      }
    }
    return [out];
  },
  vjp({ op: { attributes, inputs }, grads, sink, wants, wantsWeight }) {
    const { weight, bias, experts } = attributes;
    const [x, indices] = inputs as [Value, Value];
    const [dy] = grads as [Value];
    if (wantsWeight(weight)) sink.add(EXPERT_WEIGHT_GRADIENT, [dy, x, indices], { weight, experts });
    if (bias && wantsWeight(bias)) sink.add(EXPERT_BIAS_GRADIENT, [dy, indices], { weight: bias, experts });
    if (!wants(0)) return [undefined];
    const width = x.width as number;
    const dx = sink.one(EXPERT_MATMUL_TRANSPOSED, [dy, indices], { weight, experts, width });
    return [x.heads < dx.heads ? sink.one(SUM_HEADS, [dx], {}) : dx];
  },
  lower({ recorder, attributes, inputs, outputs, rows, weights }) {
    const [x, indices] = inputs as [View, View];
    const { experts, weight, bias } = attributes;
    const choice = { indices, experts };
    expertsMatmul(recorder, x, rows.count, choice, weights.matrix(weight), weights.vector(bias), outputs[0] as View);
  },
});

/** Inputs dy [row, slot, width] and the experts' numbers; `width` is that of x. */
export const EXPERT_MATMUL_TRANSPOSED = defineOp<ExpertMatmulAttributes>({
  name: "expertMatmulTransposed",
  formula: "dy[slot] W[expert of slot]",
  shapes: ([, indices], { width }) => [{ heads: indices?.width as number, width }],
  reference(call) {
    const { attributes, inputs, inputShapes, rows, weight } = call;
    const W = weight(attributes.weight) as Float64Array;
    const outer = inputShapes[0]?.width as number;
    const { width } = attributes;
    const out = new Float64Array(rows.count * (inputShapes[1]?.width as number) * width);
    for (const { pair, start, expert } of pairsOf(call, 0, 1)) {
      for (let k = 0; k < width; k++) {
        let sum = 0;
        for (let n = 0; n < outer; n++)
          sum += (inputs[0]?.[start + n] as number) * (W[(expert * outer + n) * width + k] as number);
        out[pair * width + k] = sum;
      }
    }
    return [out];
  },
  lower({ recorder, attributes: { experts, weight }, inputs, outputs, rows, weights }) {
    const [dy, indices] = inputs as [View, View];
    const choice = { indices, experts };
    expertsMatmulTransposed(recorder, dy, rows.count, choice, weights.matrix(weight), outputs[0] as View);
  },
});

interface ExpertGradient {
  readonly weight: WeightRef;
  readonly experts: number;
}

/** Inputs dy, x and the experts' numbers. */
export const EXPERT_WEIGHT_GRADIENT = defineOp<ExpertGradient>({
  name: "expertWeightGradient",
  formula: "dW[expert of slot] += dy[slot]^T x[slot]",
  shapes: () => [],
  hasEffect: true,
  reference(call) {
    const { attributes, inputs, inputShapes, addGradient } = call;
    const outer = inputShapes[0]?.width as number;
    const width = inputShapes[1]?.width as number;
    const dW = new Float64Array(attributes.experts * outer * width);
    const [dy, x] = inputs;
    for (const { pair, start, expert } of pairsOf(call, 1, 2)) {
      for (let n = 0; n < outer; n++) {
        for (let k = 0; k < width; k++) {
          const at = (expert * outer + n) * width + k;
          dW[at] = (dW[at] as number) + (dy?.[pair * outer + n] as number) * (x?.[start + k] as number);
        }
      }
    }
    addGradient(attributes.weight, dW);
    return [];
  },
  lower({ recorder, attributes: { weight, experts }, inputs, rows, bindings }) {
    const [dy, x, indices] = inputs as [View, View, View];
    addExpertsGradient(recorder, dy, x, rows.count, { indices, experts }, gradientsOf(bindings).matrix(weight));
  },
});

/** Inputs dy and the experts' numbers. */
export const EXPERT_BIAS_GRADIENT = defineOp<ExpertGradient>({
  name: "expertBiasGradient",
  formula: "db[expert of slot] += dy[slot]",
  shapes: () => [],
  hasEffect: true,
  reference(call) {
    const { attributes, inputs, inputShapes, addGradient } = call;
    const outer = inputShapes[0]?.width as number;
    const db = new Float64Array(attributes.experts * outer);
    for (const { start, expert } of pairsOf(call, 0, 1)) {
      for (let n = 0; n < outer; n++)
        db[expert * outer + n] = (db[expert * outer + n] as number) + (inputs[0]?.[start + n] as number);
    }
    addGradient(attributes.weight, db);
    return [];
  },
  lower({ recorder, attributes: { weight, experts }, inputs, rows, bindings }) {
    const [dy, indices] = inputs as [View, View];
    addExpertsBiasGradient(recorder, dy, rows.count, { indices, experts }, gradientsOf(bindings).vector(weight));
  },
});
