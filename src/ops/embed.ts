/** Rows of a table: token embeddings, learned positions, or both in one step. */
import { combine, embed } from "../kernels/calls.ts";
import type { View } from "../kernels/view.ts";
import { defineOp, type WeightRef } from "./op.ts";

export interface EmbedAttributes {
  readonly table: WeightRef;
  readonly width: number;
  /** What numbers the table's rows. */
  readonly by: "token" | "position";
  /** Added to that number (opt: positions start at 2). */
  readonly offset: number;
  /** Multiplies the row (gemma: sqrt(dModel)). */
  readonly scale: number;
  /** A second table, numbered by position, whose row is added. Made by fusion. */
  readonly positions?: Pick<EmbedAttributes, "table" | "offset">;
}

export const EMBED = defineOp<EmbedAttributes>({
  name: "embed",
  formula: "table[token or position + offset] * scale",
  shapes: (_, { width }) => [{ heads: 1, width }],
  reference({ attributes, rows, weight }) {
    const { width, positions } = attributes;
    const out = new Float64Array(rows.count * width);
    const addRows = ({ table, by, offset, scale }: EmbedAttributes) => {
      const values = weight(table) as Float64Array;
      for (let row = 0; row < rows.count; row++) {
        const start = ((by === "token" ? rows.token(row) : rows.position(row)) + offset) * width;
        for (let d = 0; d < width; d++)
          out[row * width + d] = (out[row * width + d] as number) + scale * (values[start + d] as number);
      }
    };
    addRows(attributes);
    if (positions) addRows({ ...positions, width, by: "position", scale: 1 });
    return [out];
  },
  lower({ recorder, attributes, outputs, rows, rowTable, weights, bindings }) {
    const { by, offset, scale, positions, width } = attributes;
    const { buffer } = outputs[0] as View;
    const tokens = by === "token" ? bindings.tokens : undefined;
    const second = positions && { table: weights.matrix(positions.table), offset: positions.offset };
    // A second table in several parts cannot be read in the same step.
    const together = second?.table.parts.length === 1 ? second : undefined;
    const table = weights.matrix(attributes.table);
    embed(recorder, rowTable, rows.count, table, buffer, {
      by,
      indexOffset: offset,
      scale,
      tokens,
      positions: together,
    });
    if (!second || together) return;
    const term = recorder.temp(rows.count, width);
    embed(recorder, rowTable, rows.count, second.table, term, { by: "position", indexOffset: second.offset });
    combine(recorder, term, buffer, rows.count * width, "add");
    recorder.release(term);
  },
});
