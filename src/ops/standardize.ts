/**
 * Rows brought to a standard place and spread before a dictionary reads them, and back: SAELens's `layer_norm` (the mean and the
 * deviation of a sample, with eps beside it) and `constant_norm_rescale` (the root mean square). What was taken is a value of its
 * own, [row, (shift, divisor)], since the reconstruction gets it back.
 */
import { rowStatistics, rowStatisticsGradient, rowSums, standardizeRows } from "../kernels/standardize.ts";
import type { View } from "../kernels/view.ts";
import { defineOp, type Lowering, type OpKind, sameShape, type Value } from "./op.ts";

interface Centred {
  /** By the mean and the deviation; else by the root mean square. */
  readonly isCentred: boolean;
}

const sizeOf = ({ inputs, rows }: Lowering<never>) => ({ rows: rows.count, width: (inputs[0] as View).width });
const buffer = (view: View | undefined) => (view as View).buffer;

/** Applies `f` to each row and its place. */
function mapRows(
  x: Float64Array,
  width: number,
  f: (row: Float64Array, index: number) => ArrayLike<number>,
): Float64Array {
  const out: number[] = [];
  for (let row = 0; row < x.length / width; row++)
    out.push(...Array.from(f(x.subarray(row * width, (row + 1) * width), row)));
  return Float64Array.from(out);
}

export const ROW_STATISTICS = defineOp<Centred>({
  name: "rowStatistics",
  formula: "(mean(x), deviation(x)) or (0, sqrt(mean(x^2)))",
  shapes: () => [{ heads: 1, width: 2 }],
  reference: ({ attributes: { isCentred }, inputs: [x], inputShapes: [shape] }) => [
    mapRows(x as Float64Array, shape?.width as number, (row) => {
      const mean = isCentred ? row.reduce((sum, value) => sum + value, 0) / row.length : 0;
      const squares = row.reduce((sum, value) => sum + (value - mean) ** 2, 0);
      return [mean, Math.sqrt(squares / (row.length - (isCentred ? 1 : 0)))];
    }),
  ],
  vjp: ({ op: { inputs, outputs, attributes }, grads, sink }) => [
    sink.one(ROW_STATISTICS_GRADIENT, [...inputs, ...outputs, ...grads] as Value[], attributes),
  ],
  lower(call) {
    const { recorder, attributes, inputs, outputs } = call;
    rowStatistics(recorder, attributes.isCentred, buffer(inputs[0]), sizeOf(call as never), buffer(outputs[0]));
  },
});

/** Inputs x, its statistics, and their gradient. */
export const ROW_STATISTICS_GRADIENT = defineOp<Centred>({
  name: "rowStatisticsGradient",
  formula: "d.x / n + d.y (x - mean) / ((n - 1) deviation), or d.y x / (n divisor)",
  shapes: sameShape,
  reference: ({ attributes: { isCentred }, inputs: [x, statistics, gradients], inputShapes: [shape] }) => [
    mapRows(x as Float64Array, shape?.width as number, (row, index) => {
      const [shift, divisor] = (statistics as Float64Array).subarray(2 * index) as unknown as [number, number];
      const [dShift, dDivisor] = (gradients as Float64Array).subarray(2 * index) as unknown as [number, number];
      const n = row.length;
      return row.map((value) =>
        isCentred
          ? dShift / n + (dDivisor * (value - shift)) / ((n - 1) * divisor)
          : (dDivisor * value) / (n * divisor),
      );
    }),
  ],
  lower(call) {
    const { recorder, attributes, inputs, outputs } = call;
    const [x, statistics, gradients] = inputs.map(buffer) as [View["buffer"], View["buffer"], View["buffer"]];
    const buffers = { x, statistics, gradients, out: buffer(outputs[0]) };
    rowStatisticsGradient(recorder, attributes.isCentred, buffers, sizeOf(call as never));
  },
});

interface Standardizing {
  readonly eps: number;
  /** Without the shift: the gradient. */
  readonly isGradient?: boolean;
}

/** Inputs x and the statistics. */
export const STANDARDIZE: OpKind<Standardizing> = defineOp<Standardizing>({
  name: "standardize",
  formula: "(x - shift) / (divisor + eps)",
  shapes: sameShape,
  inPlace: () => [0],
  reference: ({ attributes: { eps, isGradient }, inputs: [x, statistics], inputShapes: [shape] }) => [
    mapRows(x as Float64Array, shape?.width as number, (row, index) => {
      const [shift, divisor] = (statistics as Float64Array).subarray(2 * index) as unknown as [number, number];
      return row.map((value) => (value - (isGradient ? 0 : shift)) / (divisor + eps));
    }),
  ],
  vjp: ({ op: { inputs, outputs, attributes }, grads, sink, wants }) => [
    wants(0) ? sink.one(STANDARDIZE, [grads[0], inputs[1]] as Value[], { ...attributes, isGradient: true }) : undefined,
    wants(1) ? sink.one(ROW_SUMS, [grads[0], outputs[0], inputs[1]] as Value[], { eps: attributes.eps }) : undefined,
  ],
  lower(call) {
    const { recorder, attributes, inputs, outputs } = call;
    const kind = attributes.isGradient ? "standardize gradient" : "standardize";
    standardizeRows(recorder, kind, buffer(inputs[1]), attributes.eps, buffer(outputs[0]), sizeOf(call as never));
  },
});

/** Inputs x and the statistics. */
export const UNSTANDARDIZE: OpKind<{ isGradient?: boolean }> = defineOp<{ isGradient?: boolean }>({
  name: "unstandardize",
  formula: "x * divisor + shift",
  shapes: sameShape,
  inPlace: () => [0],
  reference: ({ attributes: { isGradient }, inputs: [x, statistics], inputShapes: [shape] }) => [
    mapRows(x as Float64Array, shape?.width as number, (row, index) => {
      const [shift, divisor] = (statistics as Float64Array).subarray(2 * index) as unknown as [number, number];
      return row.map((value) => value * divisor + (isGradient ? 0 : shift));
    }),
  ],
  vjp: ({ op: { inputs }, grads, sink, wants }) => [
    wants(0) ? sink.one(UNSTANDARDIZE, [grads[0], inputs[1]] as Value[], { isGradient: true }) : undefined,
    wants(1) ? sink.one(ROW_SUMS, [grads[0], inputs[0]] as Value[], {}) : undefined,
  ],
  lower(call) {
    const { recorder, attributes, inputs, outputs } = call;
    const kind = attributes.isGradient ? "back gradient" : "back";
    standardizeRows(recorder, kind, buffer(inputs[1]), 0, buffer(outputs[0]), sizeOf(call as never));
  },
});

/** Inputs dy, y and, of what was standardized, the statistics. */
export const ROW_SUMS = defineOp<{ eps?: number }>({
  name: "rowSums",
  formula: "(sum of dy, sum of dy y), or that times -1 / (divisor + eps)",
  shapes: () => [{ heads: 1, width: 2 }],
  reference: ({ attributes: { eps = 0 }, inputs: [dy, y, statistics], inputShapes: [shape] }) => [
    mapRows(dy as Float64Array, shape?.width as number, (row, index) => {
      const factor = statistics ? -1 / ((statistics[2 * index + 1] as number) + eps) : 1;
      const start = index * row.length;
      const product = row.reduce((sum, value, i) => sum + value * ((y as Float64Array)[start + i] as number), 0);
      return [factor * row.reduce((sum, value) => sum + value, 0), factor * product];
    }),
  ],
  lower(call) {
    const { recorder, attributes, inputs, outputs } = call;
    const statistics = inputs[2] && buffer(inputs[2]);
    rowSums(
      recorder,
      buffer(inputs[0]),
      buffer(inputs[1]),
      statistics,
      attributes.eps ?? 0,
      sizeOf(call as never),
      buffer(outputs[0]),
    );
  },
});
