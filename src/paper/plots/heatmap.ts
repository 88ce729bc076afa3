/** A table as colours: blue below zero, orange above, the stronger the larger. Each cell says its number. */
import { drawing, escaped, pixels, text } from "./svg.ts";

const CELL = { width: 64, height: 24 };
const LEFT = 110;
const TOP = 60;
/** The most that letters of a title take on average, with the widest of usual fonts. */
const TITLE_LETTER = 9;

export function heatmap({
  title,
  unit,
  rows,
  columns,
  values,
}: {
  title: string;
  unit: string;
  rows: readonly string[];
  columns: readonly string[];
  values: readonly (readonly number[])[];
}): string {
  const largest = Math.max(...values.flat().map(Math.abs), 1e-30);
  const cells = values.flatMap((row, r) =>
    row.map((value, c) => {
      const [x, y] = [LEFT + c * CELL.width, TOP + r * CELL.height];
      const label = `${rows[r]}, ${columns[c]}: ${value.toPrecision(3)} ${unit}`;
      const fill = `fill="${value < 0 ? "#0072b2" : "#e69f00"}" fill-opacity="${(0.85 * (Math.abs(value) / largest)).toFixed(2)}"`;
      return `<g><title>${escaped(label)}</title><rect x="${x}" y="${y}" width="${CELL.width - 1}" height="${CELL.height - 1}" ${fill}/>${text([x + CELL.width / 2, y + 16], value.toPrecision(2), 'text-anchor="middle"')}</g>`;
    }),
  );
  const names = [
    ...rows.map((name, r) => text([LEFT - 8, TOP + r * CELL.height + 16], name, 'text-anchor="end"')),
    ...columns.map((name, c) => text([LEFT + (c + 0.5) * CELL.width, TOP - 8], name, 'text-anchor="middle"')),
  ];
  const bottom = TOP + rows.length * CELL.height + 20;
  const range = text([LEFT, bottom], `${unit}, from ${(-largest).toPrecision(2)} to ${largest.toPrecision(2)}`);
  const width = Math.max(LEFT + columns.length * CELL.width + 20, 24 + TITLE_LETTER * title.length);
  return drawing(Math.ceil(width), Number(pixels(bottom + 12)), title, [...names, ...cells, range]);
}
