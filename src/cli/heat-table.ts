/**
 * A table whose cells have the colour of their number, in a terminal that shows colours; elsewhere the same text without them.
 * Columns that do not fit side by side go on below, with the rows' names again.
 *
 * Colours are of the 256 that nearly every terminal has: dark to bright for shares and probabilities (as viridis), red over white to blue for
 * signed numbers.
 */
import { visible } from "../pictures/labels.ts";

/** Background colours of the xterm palette, for numbers from the least to the largest. */
const SCALES = {
  sequential: [53, 54, 61, 25, 31, 30, 36, 71, 113, 184],
  diverging: [88, 124, 167, 174, 224, 255, 189, 110, 68, 26, 18],
} as const;
/** Steps of each scale whose text is white. */
const IS_DARK = {
  sequential: (step: number) => step < 6,
  diverging: (step: number) => step < 3 || step > 7,
} as const;

const BLACK = 16;
const WHITE = 231;

export interface HeatTable {
  rows: readonly string[];
  columns: readonly string[];
  /** [rows][columns] */
  cells: readonly (readonly HeatCell[])[];
  /** What the least and largest colour stand for. */
  from: number;
  to: number;
  scale: keyof typeof SCALES;
}

export interface HeatCell {
  text: string;
  value: number;
}

/** Lines of the table. `width` in characters: undefined for a table of whatever width. */
export function heatTable(
  { rows, columns, cells, from, to, scale }: HeatTable,
  { colours, width }: { colours: boolean; width: number | undefined },
): string[] {
  const names = rows.map(visible);
  const nameWidth = Math.max(...names.map(({ length }) => length));
  const shown = cells.map((row) => row.map(({ text, value }) => ({ text: visible(text), value })));
  const widths = columns.map((name, column) =>
    Math.max(visible(name).length, ...shown.map((row) => (row[column] as HeatCell).text.length)),
  );
  const paint = (text: string, value: number) => (colours ? painted(text, (value - from) / (to - from), scale) : text);
  return blocksOf(widths, (width ?? Number.POSITIVE_INFINITY) - nameWidth).flatMap((block, index) => [
    ...(index > 0 ? [""] : []),
    [
      " ".repeat(nameWidth),
      ...block.map((column) => visible(columns[column] as string).padStart(widths[column] as number)),
    ]
      .join("  ")
      .trimEnd(),
    ...names.map((name, row) =>
      [
        name.padEnd(nameWidth),
        ...block.map((column) => {
          const { text, value } = (shown[row] as HeatCell[])[column] as HeatCell;
          return paint(text.padStart(widths[column] as number), value);
        }),
      ].join("  "),
    ),
  ]);
}

/** Columns that fit side by side, block after block; each block has at least one. */
function blocksOf(widths: readonly number[], room: number): number[][] {
  const blocks: number[][] = [];
  let left = 0;
  widths.forEach((width, column) => {
    if (blocks.length === 0 || left < width + 2) {
      blocks.push([]);
      left = room;
    }
    blocks.at(-1)?.push(column);
    left -= width + 2;
  });
  return blocks;
}

function painted(text: string, place: number, scale: keyof typeof SCALES): string {
  if (!Number.isFinite(place)) return text;
  const colours = SCALES[scale];
  const step = Math.max(0, Math.min(colours.length - 1, Math.floor(place * colours.length)));
  return `\u001b[48;5;${colours[step]};38;5;${IS_DARK[scale](step) ? WHITE : BLACK}m${text}\u001b[0m`;
}
