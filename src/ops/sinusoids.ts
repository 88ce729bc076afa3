/**
 * Positions as sines and cosines of fixed frequencies (Vaswani et al. 2017, arXiv 1706.03762, in tensor2tensor's order: all sines, then
 * all cosines): what xglm adds to the embedding.
 */
import { embed } from "../kernels/calls.ts";
import type { View } from "../kernels/view.ts";
import { defineOp } from "./op.ts";

interface SinusoidAttributes {
  readonly width: number;
  /** Added to the position. */
  readonly offset: number;
}

const f = Math.fround;

/** The vector of a position, offset included. Rounded to float32 where transformers' tensors are. */
export function sinusoid(position: number, width: number): Float32Array {
  const half = Math.floor(width / 2);
  const step = f(-Math.log(10000) / (half - 1));
  const out = new Float32Array(width);
  for (let j = 0; j < half; j++) {
    const angle = f(position * f(Math.exp(f(j * step))));
    out[j] = Math.sin(angle);
    out[half + j] = Math.cos(angle);
  }
  return out;
}

export const SINUSOIDS = defineOp<SinusoidAttributes>({
  name: "sinusoids",
  formula: "sin and cos of (position + offset) * frequency",
  shapes: (_, { width }) => [{ heads: 1, width }],
  reference({ attributes: { width, offset }, rows }) {
    const out = new Float64Array(rows.count * width);
    for (let row = 0; row < rows.count; row++) out.set(sinusoid(rows.position(row) + offset, width), row * width);
    return [out];
  },
  vjp: () => [],
  lower({ recorder, attributes: { width }, outputs, rows, rowTable, bindings }) {
    const { sinusoids } = bindings;
    if (!sinusoids) throw new TypeError("A model with sinusoidal positions has a table of them.");
    const count = sinusoids.length / width;
    const parts = [{ buffer: sinusoids.buffer, firstRow: 0, rows: count }];
    const table = { outWidth: count, width, stride: width, layout: "linear", storage: "f32", parts } as const;
    embed(recorder, rowTable, rows.count, table, (outputs[0] as View).buffer, { by: "position", indexOffset: 0 });
  },
});
