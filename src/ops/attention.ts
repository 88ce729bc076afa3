/**
 * Attention: scores of queries and keys, their softmax, and the values mixed by it; and the three in one step, which never
 * writes the scores. Keys and values are read from the cache by slot, so rows of this pass and of earlier ones look alike.
 */
import { ATTENTION_FAMILY } from "../kernels/attention.ts";
import { attentionMix, attentionScores, attentionSoftmax } from "../kernels/attention-steps.ts";
import type { View } from "../kernels/view.ts";
import { softCapped } from "./activations.ts";
import { type AttentionAttributes, attentionCall } from "./attention-call.ts";
import { CAP_GRADIENT, MIX_KEYS, MIX_TRANSPOSED, PATTERN_GRADIENT, SOFTMAX_GRADIENT } from "./attention-gradients.ts";
import { eachRowHead } from "./attention-reference.ts";
import { SCALE } from "./elementwise.ts";
import { defineOp, type OpKind, type OpSink, type ReferenceCall, type Value } from "./op.ts";
import type { RowTable } from "./rows.ts";

function scoresOf(call: ReferenceCall<AttentionAttributes>, keyCount: number): Float64Array {
  const [q, k] = call.inputs as [Float64Array, Float64Array];
  const { nHeads, nKvHeads, dHead, scale, softCap } = call.attributes;
  const out = new Float64Array(call.rows.count * nHeads * keyCount).fill(Number.NEGATIVE_INFINITY);
  eachRowHead(call, (rowHead, keys, kvHead) => {
    const slope = call.attributes.alibi ? (call.pass.slopes?.[rowHead % nHeads] as number) : 0;
    const position = call.rows.position(Math.floor(rowHead / nHeads));
    for (const key of keys) {
      let product = 0;
      for (let d = 0; d < dHead; d++) {
        product += (q[rowHead * dHead + d] as number) * (k[(key.row * nKvHeads + kvHead) * dHead + d] as number);
      }
      // Press et al. 2022 (arXiv 2108.12409): minus slope times the distance.
      out[rowHead * keyCount + key.position] = softCapped(product * scale, softCap) - slope * (position - key.position);
    }
  });
  return out;
}

/** Softmax of runs of `width`. */
function softmaxOf(scores: Float64Array, width: number): Float64Array {
  const out = new Float64Array(scores.length);
  for (let start = 0; start < scores.length; start += width) {
    const row = scores.subarray(start, start + width);
    const largest = row.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
    const total = row.reduce((sum, value) => sum + Math.exp(value - largest), 0);
    out.set(
      row.map((value) => Math.exp(value - largest) / total),
      start,
    );
  }
  return out;
}

function mixOf(
  call: ReferenceCall<AttentionAttributes>,
  pattern: Float64Array,
  v: Float64Array,
  keyCount: number,
): Float64Array {
  const { nHeads, nKvHeads, dHead } = call.attributes;
  const out = new Float64Array(call.rows.count * nHeads * dHead);
  eachRowHead(call, (rowHead, keys, kvHead) => {
    for (const { row, position } of keys) {
      const weight = pattern[rowHead * keyCount + position] as number;
      for (let d = 0; d < dHead; d++) {
        out[rowHead * dHead + d] =
          (out[rowHead * dHead + d] as number) + weight * (v[(row * nKvHeads + kvHead) * dHead + d] as number);
      }
    }
  });
  return out;
}

/** The gradients of q and of the keys, given that of the scores; `scaled`: times the scale already. */
function scoresGradients(
  sink: OpSink,
  attributes: AttentionAttributes,
  [q, keys, scores]: readonly [Value, Value, Value],
  dScores: Value,
  scaled: boolean,
): Value[] {
  const { softCap, scale } = attributes;
  const d = softCap ? sink.one(CAP_GRADIENT, [scores, dScores], attributes) : dScores;
  const dq = sink.one(MIX_KEYS, [d, keys], attributes);
  const dk = sink.one(MIX_TRANSPOSED, [d, q], attributes, undefined, keys.rows);
  return [dq, dk].map((grad) => (scaled ? grad : sink.one(SCALE, [grad], { scale })));
}

/** The gradients of pattern and values, given that of z. */
function mixGradients(
  sink: OpSink,
  attributes: AttentionAttributes,
  [pattern, values]: readonly [Value, Value],
  dz: Value,
  visible: boolean,
) {
  return [
    sink.one(PATTERN_GRADIENT, [dz, values], { ...attributes, visible }),
    sink.one(MIX_TRANSPOSED, [pattern, dz], attributes, undefined, values.rows),
  ] as const;
}

export const SCORES: OpKind<AttentionAttributes> = defineOp<AttentionAttributes>({
  name: "scores",
  formula: "softCap(q·k * scale) + ALiBi; -inf where the query cannot see",
  shapes: (_, { nHeads }) => [{ heads: nHeads, width: "keys" }],
  acrossRows: [1],
  reference: (call) => [scoresOf(call, call.outputShapes[0]?.width as number)],
  vjp: ({ op: { inputs, outputs, attributes }, grads, sink }) =>
    scoresGradients(sink, attributes, [...inputs, ...outputs] as [Value, Value, Value], grads[0] as Value, false),
  lower(call) {
    attentionScores(call.recorder, attentionCall(call, call.inputs[0]), (call.outputs[0] as View).buffer);
  },
});

export const SOFTMAX: OpKind<AttentionAttributes> = defineOp<AttentionAttributes>({
  name: "softmax",
  formula: "softmax(scores)",
  shapes: (_, { nHeads }) => [{ heads: nHeads, width: "keys" }],
  inPlace: () => [0],
  reference: ({ inputs: [scores], inputShapes: [shape] }) => [
    softmaxOf(scores as Float64Array, shape?.width as number),
  ],
  vjp: ({ op: { outputs, attributes }, grads, sink }) => [
    sink.one(SOFTMAX_GRADIENT, [...outputs, ...grads] as Value[], attributes),
  ],
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
    mixGradients(sink, attributes, inputs as unknown as [Value, Value], grads[0] as Value, false),
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
    const keyCount =
      1 +
      Math.max(
        ...Array.from({ length: (call.inputRows[1] as RowTable).count }, (_, row) =>
          (call.inputRows[1] as RowTable).position(row),
        ),
      );
    return [mixOf(call, softmaxOf(scoresOf(call, keyCount), keyCount), call.inputs[2] as Float64Array, keyCount)];
  },
  // Scores and pattern are computed once more, which costs less than keeping them.
  vjp({ op: { inputs, attributes }, grads, sink }) {
    const [q, keys, values] = inputs as [Value, Value, Value];
    const scores = sink.one(SCORES, [q, keys], attributes);
    const pattern = sink.one(SOFTMAX, [scores], attributes);
    const [dPattern, dv] = mixGradients(sink, attributes, [pattern, values], grads[0] as Value, true);
    const dScores = sink.one(SOFTMAX_GRADIENT, [pattern, dPattern], { ...attributes, scaled: true });
    return [...scoresGradients(sink, attributes, [q, keys, scores], dScores, true), dv];
  },
  lower(call) {
    const attention = attentionCall(call, call.inputs[0]);
    const kernel = ATTENTION_FAMILY.choose(call.recorder, { ...attention.params, runs: call.rows.runs });
    kernel.record(call.recorder, attention, (call.outputs[0] as View).buffer);
  },
});
