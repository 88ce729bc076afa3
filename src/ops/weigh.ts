/** What each expert gives (or reads) times its weight, and their sum. */
import { headDots, weigh } from "../kernels/experts.ts";
import type { View } from "../kernels/view.ts";
import { defineOp, type OpKind, type ReferenceCall, type Value } from "./op.ts";
import { SUM_HEADS } from "./sum-heads.ts";

/** x[row, head, d]; one vector may stand for all heads. */
function at(
  { inputs, inputShapes }: ReferenceCall<unknown>,
  input: number,
  row: number,
  head: number,
  d: number,
): number {
  const { heads, width } = inputShapes[input] as { heads: number; width: number };
  return (inputs[input] as Float64Array)[(row * heads + (heads === 1 ? 0 : head)) * width + d] as number;
}

/** Inputs x [row, head or one, width] and weights [row, head]. */
export const WEIGH: OpKind<object> = defineOp<object>({
  name: "weigh",
  formula: "x[slot] * weight[slot]",
  shapes: ([x, weights]) => [{ heads: weights?.width as number, width: x?.width as number }],
  reference(call) {
    const { heads, width } = call.outputShapes[0] as { heads: number; width: number };
    const out = new Float64Array(call.rows.count * heads * width);
    return [
      out.map((_, i) => {
        const [d, head, row] = [i % width, Math.floor(i / width) % heads, Math.floor(i / width / heads)];
        return at(call, 0, row, head, d) * at(call, 1, row, 0, head);
      }),
    ];
  },
  vjp({ op: { inputs }, grads, sink, wants }) {
    const [x, weights] = inputs as [Value, Value];
    const [dy] = grads as [Value];
    const dx = wants(0) ? sink.one(WEIGH, [dy, weights], {}) : undefined;
    const isShared = x.heads === 1 && (weights.width as number) > 1;
    return [
      dx && isShared ? sink.one(SUM_HEADS, [dx], {}) : dx,
      wants(1) ? sink.one(HEAD_DOTS, [dy, x], {}) : undefined,
    ];
  },
  lower({ recorder, inputs, outputs, rows }) {
    const [x, weights] = inputs as [View, View];
    weigh(recorder, x, weights, rows.count, outputs[0] as View, false);
  },
});

/** The two together. Made by fusion. */
export const WEIGHED_SUM = defineOp<object>({
  name: "weighedSum",
  formula: "sum over slots of x * weight",
  shapes: ([x]) => [{ heads: 1, width: x?.width as number }],
  reference(call) {
    const width = call.outputShapes[0]?.width as number;
    const heads = call.inputShapes[1]?.width as number;
    const out = new Float64Array(call.rows.count * width);
    return [
      out.map((_, i) => {
        let sum = 0;
        for (let head = 0; head < heads; head++) {
          sum += at(call, 0, Math.floor(i / width), head, i % width) * at(call, 1, Math.floor(i / width), 0, head);
        }
        return sum;
      }),
    ];
  },
  lower({ recorder, inputs, outputs, rows }) {
    const [x, weights] = inputs as [View, View];
    weigh(recorder, x, weights, rows.count, outputs[0] as View, true);
  },
});

/** The gradient of the weights: of the result, times what was weighed. */
export const HEAD_DOTS = defineOp<object>({
  name: "headDots",
  formula: "a[slot] . b[slot]",
  shapes: ([a]) => [{ heads: 1, width: a?.heads as number }],
  reference(call) {
    const { heads, width } = call.inputShapes[0] as { heads: number; width: number };
    const out = new Float64Array(call.rows.count * heads);
    return [
      out.map((_, i) => {
        const [row, head] = [Math.floor(i / heads), i % heads];
        let sum = 0;
        for (let d = 0; d < width; d++) sum += at(call, 0, row, head, d) * at(call, 1, row, head, d);
        return sum;
      }),
    ];
  },
  lower({ recorder, inputs, outputs, rows }) {
    const [a, b] = inputs as [View, View];
    headDots(recorder, a, b, rows.count, outputs[0] as View);
  },
});
