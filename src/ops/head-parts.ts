/**
 * Parts of each head's vector: a stretch of it, and vectors put together from parts. Latent attention turns one part of a query and lets
 * all heads share one part of a key; values that are narrower than keys are widened with zeros, which attention mixes as it mixes others.
 */
import { copy } from "../kernels/elementwise.ts";
import type { View } from "../kernels/view.ts";
import { type ConcatAttributes, eachPart, lowerParts } from "./concat.ts";
import { defineOp, type OpKind, type Value } from "./op.ts";
import { SUM_HEADS } from "./sum-heads.ts";

type Parts = ConcatAttributes["parts"];

/** Input: x [row, head, width]. An output for each part that is given; of the others there is nothing. */
export const SPLIT_HEADS: OpKind<ConcatAttributes> = defineOp<ConcatAttributes>({
  name: "splitHeads",
  formula: "parts of x[head]",
  shapes: ([x], { parts }) =>
    parts.filter(({ isGiven }) => isGiven).map(({ size }) => ({ heads: x?.heads as number, width: size })),
  writesViews: true,
  reference({ attributes: { parts }, inputs: [x], inputShapes: [shape] }) {
    const whole = shape?.width as number;
    const out: Float64Array[] = [];
    eachPart(parts, (size, start, output) => {
      const isOf = (i: number) => i % whole >= start && i % whole < start + size;
      if (output !== undefined) out[output] = (x as Float64Array).filter((_, i) => isOf(i));
    });
    return out;
  },
  vjp({ op: { inputs, attributes }, grads, sink }) {
    let output = 0;
    const parts = attributes.parts.map(({ size, isGiven }) => ({
      size,
      isGiven: isGiven && grads[output++] !== undefined,
    }));
    const given = grads.filter((grad) => grad !== undefined);
    return [sink.one(JOIN_HEADS, given, { heads: inputs[0]?.heads as number, parts })];
  },
  lower({ recorder, attributes: { parts }, inputs, outputs, rows }) {
    const [x] = inputs as [View];
    eachPart(parts, (size, start, output) => {
      if (output === undefined) return;
      copy(recorder, { ...x, start: x.start + start, width: size }, outputs[output] as View, rows.count);
    });
  },
});

/** The parts of a vector, of which one alone is given. */
const onlyPart = (parts: Parts, given: number): Parts =>
  parts.map(({ size }, index) => ({ size, isGiven: index === given }));

interface JoinHeadsAttributes extends ConcatAttributes {
  /** Of the result; an input of one head is a part of every head. */
  readonly heads: number;
}

/** The other way: inputs are the parts that are given, the others are zeros. */
export const JOIN_HEADS: OpKind<JoinHeadsAttributes> = defineOp<JoinHeadsAttributes>({
  name: "joinHeads",
  formula: "[x[head], y[head], .., 0]",
  shapes: (_, { heads, parts }) => [{ heads, width: parts.reduce((sum, { size }) => sum + size, 0) }],
  writesViews: true,
  reference({ attributes: { heads, parts }, inputs, inputShapes, outputShapes: [shape], rows }) {
    const width = shape?.width as number;
    const out = new Float64Array(rows.count * heads * width);
    eachPart(parts, (size, start, input) => {
      if (input === undefined) return;
      const own = inputShapes[input]?.heads as number;
      for (let i = 0; i < rows.count * heads; i++) {
        const from = own === 1 ? Math.floor(i / heads) : i;
        out.set((inputs[input] as Float64Array).subarray(from * size, (from + 1) * size), i * width + start);
      }
    });
    return [out];
  },
  vjp({ op: { inputs, attributes }, grads, sink, wants }) {
    const [dy] = grads as [Value];
    const { heads, parts } = attributes;
    const places = parts.flatMap(({ isGiven }, index) => (isGiven ? [index] : []));
    return places.map((place, input) => {
      if (!wants(input)) return undefined;
      const own = sink.one(SPLIT_HEADS, [dy], { parts: onlyPart(parts, place) });
      return heads > 1 && inputs[input]?.heads === 1 ? sink.one(SUM_HEADS, [own], {}) : own;
    });
  },
  lower: (call) => lowerParts(call, (x, { heads }) => ({ ...x, heads, headStride: x.heads === 1 ? 0 : x.headStride })),
});
