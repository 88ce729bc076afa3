/** Vectors side by side in a row: the gradient of a stacked projection's result, of those of its parts. */
import { copy, zeroRows } from "../kernels/elementwise.ts";
import type { View } from "../kernels/view.ts";
import { defineOp, type Lowering, type OpSink, type Shape, type Value } from "./op.ts";

export interface ConcatAttributes {
  /** Elements of each part, and whether it is an input or zero. */
  readonly parts: readonly { readonly size: number; readonly isGiven: boolean }[];
}

export const CONCAT = defineOp<ConcatAttributes>({
  name: "concat",
  formula: "[x, y, ..]",
  shapes: (_, { parts }) => [{ heads: 1, width: parts.reduce((sum, { size }) => sum + size, 0) }],
  reference({ attributes: { parts }, inputs, outputShapes: [shape], rows }) {
    const total = shape?.width as number;
    const out = new Float64Array(rows.count * total);
    eachPart(parts, (size, start, input) => {
      for (let row = 0; row < rows.count && input !== undefined; row++) {
        out.set((inputs[input] as Float64Array).subarray(row * size, (row + 1) * size), row * total + start);
      }
    });
    return [out];
  },
  lower: (call) => lowerParts(call, (x, { width }) => ({ ...x, heads: 1, width })),
});

/** Records the parts of an output: each input, as `read` reads it for its place there, and zeros. What was written there stays. */
export function lowerParts(
  { recorder, attributes: { parts }, inputs, outputs, rows }: Lowering<ConcatAttributes>,
  read: (x: View, place: View) => View,
): void {
  const [whole] = outputs as [View];
  eachPart(parts, (size, start, input) => {
    const place = { ...whole, start: whole.start + start, width: size };
    const x = input === undefined ? undefined : (inputs[input] as View);
    if (!x) zeroRows(recorder, rows.count, place);
    else if (x.buffer !== whole.buffer) copy(recorder, read(x, place), place, rows.count);
  });
}

/** Visits each part with where it begins in a row and which input it is. */
export function eachPart(
  parts: ConcatAttributes["parts"],
  visit: (size: number, start: number, input: number | undefined) => void,
): void {
  let start = 0;
  let input = 0;
  for (const { size, isGiven } of parts) {
    visit(size, start, isGiven ? input++ : undefined);
    start += size;
  }
}

/** The gradient of all parts of a row as one value; a single one as it is. */
export function sideBySide(sink: OpSink, parts: readonly Shape[], grads: readonly (Value | undefined)[]): Value {
  const given = grads.filter((grad) => grad !== undefined);
  if (parts.length === 1) return given[0] as Value;
  const sizes = parts.map(({ heads, width }, index) => ({
    size: heads * (width as number),
    isGiven: grads[index] !== undefined,
  }));
  return sink.one(CONCAT, given, { parts: sizes });
}
