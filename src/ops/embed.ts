/** Rows of a table: token embeddings, learned positions, or both in one step. */
import { combine, embed } from "../kernels/calls.ts";
import type { View } from "../kernels/view.ts";
import { defineOp, type Value } from "./op.ts";
import { TABLE_GRADIENT, type TableRows } from "./weight-gradients.ts";

export interface EmbedAttributes extends TableRows {
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
  vjp({ op: { attributes }, grads, sink, wantsWeight }) {
    const { positions, ...tokens } = attributes;
    const tables = [tokens, ...(positions ? [{ ...tokens, ...positions, by: "position", scale: 1 } as const] : [])];
    for (const each of tables) if (wantsWeight(each.table)) sink.add(TABLE_GRADIENT, grads as [Value], each);
    return [];
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
