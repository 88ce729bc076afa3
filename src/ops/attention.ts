/**
 * Attention: scores of queries and keys, their softmax, and the values mixed by it; and the three in one step, which never
 * writes the scores. Keys and values are read from the cache by slot, so rows of this pass and of earlier ones look alike.
 */
import { ATTENTION_FAMILY } from "../kernels/attention.ts";
import { attentionMix, attentionScores, attentionSoftmax } from "../kernels/attention-steps.ts";
import { WIDEST_TILED_HEAD } from "../kernels/attention-tile-gradients.ts";
import type { View } from "../kernels/view.ts";
import { type AttentionAttributes, attentionCall } from "./attention-call.ts";
import { CAP_GRADIENT, MIX_KEYS, MIX_TRANSPOSED, PATTERN_GRADIENT, SOFTMAX_GRADIENT } from "./attention-gradients.ts";
import { keyCountOf, mixOf, scoresOf, sinksOf, softmaxOf } from "./attention-reference.ts";
import { ATTENTION_STATISTICS, KEY_GRADIENT, QUERY_GRADIENT } from "./attention-tile-gradients.ts";
import { SCALE } from "./elementwise.ts";
import { defineOp, type OpKind, type OpSink, type Value, type WeightRef } from "./op.ts";
import type { RowTable } from "./rows.ts";
import { SINK_GRADIENT, SINK_GRADIENT_BY_PATTERN } from "./sink-gradients.ts";
import { VECTOR_GRADIENT } from "./weight-gradients.ts";

/** The gradients of q and of the keys, given that of the scores. */
function scoresGradients(
  sink: OpSink,
  attributes: AttentionAttributes,
  [q, keys, scores]: readonly [Value, Value, Value],
  dScores: Value,
): Value[] {
  const { softCap, scale } = attributes;
  const d = softCap ? sink.one(CAP_GRADIENT, [scores, dScores], attributes) : dScores;
  const dq = sink.one(MIX_KEYS, [d, keys], attributes);
  const dk = sink.one(MIX_TRANSPOSED, [d, q], attributes, undefined, keys.rows);
  return [dq, dk].map((grad) => sink.one(SCALE, [grad], { scale }));
}

/** The gradients of pattern and values, given that of z. */
function mixGradients(
  sink: OpSink,
  attributes: AttentionAttributes,
  [pattern, values]: readonly [Value, Value],
  dz: Value,
) {
  return [
    sink.one(PATTERN_GRADIENT, [dz, values], attributes),
    sink.one(MIX_TRANSPOSED, [pattern, dz], attributes, undefined, values.rows),
  ] as const;
}

/** The gradients of q, keys and values with scores and pattern in memory, for heads too wide for tiles. */
function stepGradients(
  sink: OpSink,
  attributes: AttentionAttributes,
  [q, keys, values]: readonly [Value, Value, Value],
  dz: Value,
  wantsSinks: boolean,
): Value[] {
  const scores = sink.one(SCORES, [q, keys], attributes);
  const pattern = sink.one(SOFTMAX, [scores], attributes);
  const [dPattern, dv] = mixGradients(sink, attributes, [pattern, values], dz);
  if (wantsSinks)
    addSinkGradient(sink, attributes, sink.one(SINK_GRADIENT_BY_PATTERN, [pattern, dPattern], attributes));
  const dScores = sink.one(SOFTMAX_GRADIENT, [pattern, dPattern], attributes);
  return [...scoresGradients(sink, attributes, [q, keys, scores], dScores), dv];
}

/** Adds what each (row, head) gives to the gradient of the sinks. */
function addSinkGradient(sink: OpSink, { sinks }: AttentionAttributes, terms: Value): void {
  sink.add(VECTOR_GRADIENT, [terms], { weight: sinks as WeightRef });
}

const isTiled = ({ dHead }: Pick<AttentionAttributes, "dHead">) => dHead <= WIDEST_TILED_HEAD;

/** Elements of the widest row of attention's gradients, where nobody looks at scores or pattern; `widths` of heads, by block. */
export function widestAttentionGradient(nHeads: number, widths: readonly number[], keyCount: number): number {
  return nHeads * Math.max(...widths.map((width) => (isTiled({ dHead: width }) ? width : keyCount)));
}

export const SCORES: OpKind<AttentionAttributes> = defineOp<AttentionAttributes>({
  name: "scores",
  formula: "softCap(q·k * scale) + ALiBi; -inf where the query cannot see",
  shapes: (_, { nHeads }) => [{ heads: nHeads, width: "keys" }],
  acrossRows: [1],
  reference: (call) => [scoresOf(call, call.outputShapes[0]?.width as number)],
  vjp: ({ op: { inputs, outputs, attributes }, grads, sink }) =>
    scoresGradients(sink, attributes, [...inputs, ...outputs] as [Value, Value, Value], grads[0] as Value),
  lower(call) {
    attentionScores(call.recorder, attentionCall(call, call.inputs[0]), (call.outputs[0] as View).buffer);
  },
});

export const SOFTMAX: OpKind<AttentionAttributes> = defineOp<AttentionAttributes>({
  name: "softmax",
  formula: "softmax(scores), of scores and sink where heads have one",
  shapes: (_, { nHeads }) => [{ heads: nHeads, width: "keys" }],
  inPlace: () => [0],
  reference: (call) => [softmaxOf(call.inputs[0] as Float64Array, call.inputShapes[0]?.width as number, sinksOf(call))],
  vjp({ op: { outputs, attributes }, grads, sink, wantsWeight }) {
    const both = [...outputs, ...grads] as Value[];
    if (attributes.sinks && wantsWeight(attributes.sinks))
      addSinkGradient(sink, attributes, sink.one(SINK_GRADIENT_BY_PATTERN, both, attributes));
    return [sink.one(SOFTMAX_GRADIENT, both, attributes)];
  },
  lower(call) {
    attentionSoftmax(call.recorder, attentionCall(call), (call.outputs[0] as View).buffer);
  },
});

export const MIX = defineOp<AttentionAttributes>({
  name: "mix",
  formula: "pattern v",
  shapes: (_, { nHeads, dHead }) => [{ heads: nHeads, width: dHead }],
  acrossRows: [1],
  reference: (call) => [
    mixOf(call, call.inputs[0] as Float64Array, call.inputs[1] as Float64Array, call.inputShapes[0]?.width as number),
  ],
  vjp: ({ op: { inputs, attributes }, grads, sink }) =>
    mixGradients(sink, attributes, inputs as unknown as [Value, Value], grads[0] as Value),
  lower(call) {
    attentionMix(call.recorder, attentionCall(call), (call.inputs[0] as View).buffer, (call.outputs[0] as View).buffer);
  },
});

/** q, keys and values to z. Made by fusion. */
export const ATTENTION = defineOp<AttentionAttributes>({
  name: "attention",
  formula: "softmax(scores(q, k)) v",
  shapes: (_, { nHeads, dHead }) => [{ heads: nHeads, width: dHead }],
  acrossRows: [1, 2],
  reference(call) {
    const keyCount = keyCountOf(call.inputRows[1] as RowTable);
    const pattern = softmaxOf(scoresOf(call, keyCount), keyCount, sinksOf(call));
    return [mixOf(call, pattern, call.inputs[2] as Float64Array, keyCount)];
  },
  // The pattern is computed once more, a tile at a time, which costs less than keeping it.
  vjp({ op: { inputs, attributes }, grads, sink, wantsWeight }) {
    const [q, keys, values] = inputs as [Value, Value, Value];
    const [dz] = grads as [Value];
    const wantsSinks = attributes.sinks !== undefined && wantsWeight(attributes.sinks);
    if (!isTiled(attributes)) return stepGradients(sink, attributes, [q, keys, values], dz, wantsSinks);
    const statistics = sink.one(ATTENTION_STATISTICS, [q, keys, values, dz], attributes);
    if (wantsSinks) addSinkGradient(sink, attributes, sink.one(SINK_GRADIENT, [statistics], attributes));
    const all = [q, keys, values, dz, statistics];
    return [sink.one(QUERY_GRADIENT, all, attributes), ...sink.add(KEY_GRADIENT, all, attributes, { rows: keys.rows })];
  },
  lower(call) {
    const attention = attentionCall(call, call.inputs[0]);
    const kernel = ATTENTION_FAMILY.choose(call.recorder, { ...attention.params, runs: call.rows.runs });
    kernel.record(call.recorder, attention, (call.outputs[0] as View).buffer);
  },
});
