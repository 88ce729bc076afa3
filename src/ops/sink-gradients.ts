/**
 * What each query and head give to the gradient of the head's sink. With p the sink's part of the softmax, 1 - sum(pattern),
 *
 *   dSink = -p * sum over keys of pattern * dPattern
 *
 * since the key that it stands for has no value. VECTOR_GRADIENT adds them up.
 */
import { sinkGradient, sinkGradientByPattern } from "../kernels/attention-gradients.ts";
import type { View } from "../kernels/view.ts";
import { type AttentionAttributes, attentionCall } from "./attention-call.ts";
import { sinksOf } from "./attention-reference.ts";
import { defineOp, type Value } from "./op.ts";

const aNumberAHead = (_: readonly Value[], { nHeads }: AttentionAttributes) => [{ heads: nHeads, width: 1 }];

/** Of the statistics of attention's gradient. */
export const SINK_GRADIENT = defineOp<AttentionAttributes>({
  name: "sinkGradient",
  formula: "-exp(sink - log sum) (pattern · dPattern)",
  shapes: aNumberAHead,
  reference(call) {
    const [statistics] = call.inputs as readonly Float64Array[] as [Float64Array];
    const sinkOf = sinksOf(call);
    return [
      Float64Array.from({ length: statistics.length / 4 }, (_, rowHead) => {
        const [logSum = 0, along = 0] = statistics.subarray(4 * rowHead, 4 * rowHead + 2);
        return -Math.exp(sinkOf(rowHead) - logSum) * along;
      }),
    ];
  },
  lower(call) {
    const [statistics] = call.inputs as [View];
    sinkGradient(call.recorder, attentionCall(call), statistics.buffer, (call.outputs[0] as View).buffer);
  },
});

/** Of the pattern and its gradient. */
export const SINK_GRADIENT_BY_PATTERN = defineOp<AttentionAttributes>({
  name: "sinkGradientByPattern",
  formula: "-(1 - sum(pattern)) (pattern · dPattern)",
  shapes: aNumberAHead,
  reference({ inputs: [pattern, grad], inputShapes: [shape] }) {
    const width = shape?.width as number;
    const out = new Float64Array((pattern as Float64Array).length / width);
    for (let rowHead = 0; rowHead < out.length; rowHead++) {
      let [rest, along] = [1, 0];
      for (let at = rowHead * width; at < (rowHead + 1) * width; at++) {
        const part = pattern?.[at] as number;
        rest -= part;
        if (part !== 0) along += part * (grad?.[at] as number);
      }
      out[rowHead] = -rest * along;
    }
    return [out];
  },
  lower(call) {
    const [pattern, grad] = call.inputs as [View, View];
    const [out] = call.outputs as [View];
    sinkGradientByPattern(
      call.recorder,
      attentionCall(call),
      { pattern: pattern.buffer, grad: grad.buffer },
      out.buffer,
    );
  },
});
