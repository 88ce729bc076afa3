/**
 * Attention backwards step by step, where somebody looks at scores or pattern: z = pattern v, pattern = softmax(scores), scores = cap(q·k * scale) + ALiBi.
 *
 *   dPattern = dz · v                                dv = sum over queries of pattern dz
 *   dScores = pattern (dPattern - pattern·dPattern)
 *   dCapped = dScores (1 - (capped / cap)^2)
 *   dq = scale * sum over keys of dCapped k          dk = scale * sum over queries of dCapped q
 */
import { capGradient, mixTransposed, patternGradient, softmaxGradient } from "../kernels/attention-gradients.ts";
import { attentionMix } from "../kernels/attention-steps.ts";
import type { View } from "../kernels/view.ts";
import { blocksOf, queriesOf } from "./attention-blocks.ts";
import { type AttentionAttributes, attentionCall } from "./attention-call.ts";
import { alibiBias, eachRowHead, keysOfSequence } from "./attention-reference.ts";
import { defineOp, sameShape } from "./op.ts";
import type { RowTable } from "./rows.ts";

/** Inputs dz and the values. Of every key of the sequence, also those that the query cannot see. */
export const PATTERN_GRADIENT = defineOp<AttentionAttributes>({
  name: "patternGradient",
  formula: "dz · v",
  shapes: (_, { nHeads }) => [{ heads: nHeads, width: "keys" }],
  acrossRows: [1],
  reference({ attributes, inputs: [dz, v], inputRows, outputShapes: [shape], rows }) {
    const { nHeads, nKvHeads, dHead } = attributes;
    const keyCount = shape?.width as number;
    const out = new Float64Array(rows.count * nHeads * keyCount);
    for (let rowHead = 0; rowHead < rows.count * nHeads; rowHead++) {
      const kvHead = Math.floor(((rowHead % nHeads) * nKvHeads) / nHeads);
      const row = Math.floor(rowHead / nHeads);
      for (const key of keysOfSequence(inputRows[1] as RowTable, rows.sequence(row))) {
        let sum = 0;
        for (let d = 0; d < dHead; d++) {
          sum += (dz?.[rowHead * dHead + d] as number) * (v?.[(key.row * nKvHeads + kvHead) * dHead + d] as number);
        }
        out[rowHead * keyCount + key.position] = sum;
      }
    }
    return [out];
  },
  lower(call) {
    const { rows } = call.inputRows(1);
    const lengths: number[] = [];
    for (let row = 0; row < rows.count; row++) lengths[rows.sequence(row)] = rows.position(row) + 1;
    const table = call.recorder.upload(Uint32Array.from(lengths, (length) => length ?? 0));
    const [dz] = call.inputs as [View];
    patternGradient(call.recorder, attentionCall(call), dz.buffer, table, (call.outputs[0] as View).buffer);
  },
});

/** Inputs the pattern and its gradient, in place of which it computes. */
export const SOFTMAX_GRADIENT = defineOp<AttentionAttributes>({
  name: "softmaxGradient",
  formula: "pattern (dy - pattern · dy)",
  shapes: sameShape,
  inPlace: () => [1],
  reference({ inputs: [pattern, grad], inputShapes: [shape] }) {
    const width = shape?.width as number;
    const out = new Float64Array((pattern as Float64Array).length);
    for (let start = 0; start < out.length; start += width) {
      let along = 0;
      for (let i = start; i < start + width; i++) along += (pattern?.[i] as number) * (grad?.[i] as number);
      for (let i = start; i < start + width; i++) out[i] = (pattern?.[i] as number) * ((grad?.[i] as number) - along);
    }
    return [out];
  },
  lower(call) {
    const [pattern] = call.inputs as [View];
    softmaxGradient(call.recorder, attentionCall(call), pattern.buffer, (call.outputs[0] as View).buffer);
  },
});

/** Inputs the scores and their gradient, in place of which it computes. */
export const CAP_GRADIENT = defineOp<AttentionAttributes>({
  name: "capGradient",
  formula: "dy (1 - (capped / cap)^2)",
  shapes: sameShape,
  inPlace: () => [1],
  reference({ inputs, attributes, outputShapes: [shape], rows, pass }) {
    const { nHeads, softCap, alibi } = attributes;
    const [scores, grad] = inputs as [Float64Array, Float64Array];
    const keyCount = shape?.width as number;
    return [
      grad.map((value, at) => {
        const score = scores[at] as number;
        if (score === Number.NEGATIVE_INFINITY) return 0;
        const rowHead = Math.floor(at / keyCount);
        const slope = alibi ? (pass.slopes?.[rowHead % nHeads] as number) : 0;
        const position = rows.position(Math.floor(rowHead / nHeads));
        const capped = score - alibiBias(attributes, slope, at % keyCount, position);
        return value * (1 - (capped / (softCap as number)) ** 2);
      }),
    ];
  },
  lower(call) {
    const [scores] = call.inputs as [View];
    capGradient(call.recorder, attentionCall(call), scores.buffer, (call.outputs[0] as View).buffer);
  },
});

/** Inputs the gradient of q·k * scale, and the keys: what queries get, before the scale. */
export const MIX_KEYS = defineOp<AttentionAttributes>({
  name: "mixKeys",
  formula: "dScores k",
  shapes: (_, { nHeads, dHead }) => [{ heads: nHeads, width: dHead }],
  acrossRows: [1],
  reference(call) {
    const { inputs, attributes, inputShapes, rows } = call;
    const [weights, k] = inputs as [Float64Array, Float64Array];
    const { nHeads, nKvHeads, dHead } = attributes;
    const keyCount = inputShapes[0]?.width as number;
    const out = new Float64Array(rows.count * nHeads * dHead);
    eachRowHead(call, (rowHead, keys, kvHead) => {
      for (const { row, position } of keys) {
        for (let d = 0; d < dHead; d++) {
          const at = rowHead * dHead + d;
          const key = k[(row * nKvHeads + kvHead) * dHead + d] as number;
          out[at] = (out[at] as number) + (weights[rowHead * keyCount + position] as number) * key;
        }
      }
    });
    return [out];
  },
  lower(call) {
    const attention = attentionCall(call);
    // The kernel mixes what it is given for values.
    const withKeys = { ...attention, buffers: { ...attention.buffers, values: attention.buffers.keys } };
    attentionMix(call.recorder, withKeys, (call.inputs[0] as View).buffer, (call.outputs[0] as View).buffer);
  },
});

/** Inputs weights [row, head, key] and x [row, head, dHead] of the queries: what each key gets of all of them. */
export const MIX_TRANSPOSED = defineOp<AttentionAttributes>({
  name: "mixTransposed",
  formula: "sum over queries and heads of weights[query, head, key] x[query, head]",
  shapes: (_, { nKvHeads, dHead }) => [{ heads: nKvHeads, width: dHead }],
  acrossRows: [0, 1],
  reference({ attributes, inputs: [weights, x], inputShapes: [shape], inputRows: [queries], rows }) {
    const { nHeads, nKvHeads, dHead } = attributes;
    const keyCount = shape?.width as number;
    const out = new Float64Array(rows.count * nKvHeads * dHead);
    for (let row = 0; row < rows.count; row++) {
      for (const query of keysOfSequence(queries as RowTable, rows.sequence(row))) {
        for (let head = 0; head < nHeads; head++) {
          const rowHead = query.row * nHeads + head;
          const weight = weights?.[rowHead * keyCount + rows.position(row)] as number;
          const start = (row * nKvHeads + Math.floor((head * nKvHeads) / nHeads)) * dHead;
          for (let d = 0; d < dHead; d++) {
            out[start + d] = (out[start + d] as number) + weight * (x?.[rowHead * dHead + d] as number);
          }
        }
      }
    }
    return [out];
  },
  lower(call) {
    const { recorder, attributes, inputs, outputs, rows, bindings } = call;
    const [weights, x] = inputs as [View, View];
    const { groups, counts } = keyGroups(rows, call.inputRows(1).rows, attributes);
    const keys = { groups, counts, nKvHeads: attributes.nKvHeads, keyCount: bindings.keyCount };
    mixTransposed(recorder, keys, weights.buffer, x, (outputs[0] as View).buffer);
  },
});

/** Up to four neighbouring keys of a sequence, with the query rows from the first that may see them. */
function keyGroups(keys: RowTable, queries: RowTable, attributes: AttentionAttributes) {
  const groups: number[] = [];
  const counts: number[] = [];
  const rangeOf = queriesOf(queries, attributes);
  for (const { first, count } of blocksOf(keys, 4)) {
    const position = keys.position(first);
    groups.push(first, position, ...rangeOf(keys.sequence(first), position));
    counts.push(count);
  }
  return { groups: Uint32Array.from(groups), counts: Uint32Array.from(counts) };
}
