/**
 * A section of a graph as a drawing: the ops as traced on the left, the ops that run on the right, and a line from each to
 * the one that computes it. A self-contained SVG.
 */
import { callText, type GraphText, type OpText, type PlacedOpText, type Section, sectionName } from "./describe.ts";

const FONT = 12;
/** Width of a letter of a monospaced font, as a part of its size; most have 0.6. */
const LETTER = 0.61 * FONT;
const PAD = 8;
const ROW = 40;
const BOX = 34;
const TOP = 56;
const BETWEEN = 90;

const STYLE = `text { font: ${FONT}px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #1a1a1a }
  .title { font-weight: bold; font-size: 14px } .small { font-size: 10.5px; fill: #555 }
  .op { fill: #eef3fb; stroke: #6c8ebf } .fused { fill: #e7f4e4; stroke: #6aa84f } .hook { fill: #fff2cc; stroke: #d6a419 }
  .rows { fill: #f8e1ec; stroke: #b85c8e }
  path { fill: none; stroke: #9a9a9a }`;

interface Box {
  readonly title: string;
  readonly note: string;
  readonly style: "op" | "fused" | "hook" | "rows";
  /** Its middle. */
  readonly y: number;
}

/** The drawing of one section, before and after. */
export function drawSection(text: GraphText, section: Section, title: string): string {
  const traced = text.traced.flatMap((op, index) => (op.section === section ? [{ op, index }] : []));
  const placed = text.placed.filter((op) => op.section === section);
  const heights = new Map(traced.map(({ index }, row) => [index, TOP + ROW * (row + 0.5)]));
  const left = traced.map(({ op, index }) => tracedBox(op, heights.get(index) as number));
  const right = placedBoxes(placed, heights);
  const leftWidth = widthOf(left);
  const rightStart = PAD + leftWidth + BETWEEN;
  const width = Math.ceil(rightStart + widthOf(right) + PAD);
  const height = Math.ceil(Math.max(...[...left, ...right].map(({ y }) => y)) + ROW / 2 + PAD);
  const lines = placed.flatMap(({ fuses }, index) =>
    fuses.flatMap((from) => {
      const y = heights.get(from);
      return y === undefined ? [] : [lineOf(PAD + leftWidth, y, rightStart, (right[index] as Box).y)];
    }),
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">`,
    `<title>${escaped(`${title}, ${sectionName(section)}: ${traced.length} ops as traced, ${placed.length} as run`)}</title>`,
    `<style>${STYLE}</style>`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    textAt(PAD, 20, `${title}, ${sectionName(section)}`, "title"),
    textAt(PAD, 42, `before: ${traced.length} ops as traced`),
    textAt(rightStart, 42, `after: ${placed.length} ops, fused and placed`),
    ...lines,
    ...left.flatMap((box) => boxOf(box, PAD, leftWidth)),
    ...right.flatMap((box) => boxOf(box, rightStart, widthOf(right))),
    "</svg>",
    "",
  ].join("\n");
}

function tracedBox(op: OpText, y: number): Box {
  const points = op.points.map((point) => point.replace(`blocks.${op.section}.`, ""));
  const style = op.rows ? "rows" : op.outputs.length === 0 ? "hook" : "op";
  const note = [op.shapes.join(" "), points.join(", "), op.rows].filter(Boolean).join("; ");
  return { title: callText(op), note, style, y };
}

/** Each stands beside the middle of what it computes, below the one that runs before it. */
function placedBoxes(ops: readonly PlacedOpText[], heights: ReadonlyMap<number, number>): Box[] {
  let lowest = TOP - ROW / 2;
  return ops.map((op) => {
    const of = op.fuses.flatMap((index) => heights.get(index) ?? []);
    const middle = of.length > 0 ? of.reduce((sum, y) => sum + y, 0) / of.length : 0;
    lowest = Math.max(middle, lowest + ROW);
    const at = op.memory.length > 0 ? `in ${op.memory.join(", ")}` : "";
    const frees = op.frees.length > 0 ? `frees ${op.frees.join(", ")}` : "";
    const made = op.fuses.length > 1 ? "fused" : "op";
    const style = op.rows ? "rows" : op.outputs.length === 0 ? "hook" : made;
    return { title: callText(op), note: [at, frees, op.rows].filter(Boolean).join("; "), style, y: lowest };
  });
}

function widthOf(boxes: readonly Box[]): number {
  return (
    2 * PAD + LETTER * Math.max(...boxes.flatMap(({ title, note }) => [title.length, (note.length * 10.5) / FONT]))
  );
}

function boxOf({ title, note, style, y }: Box, x: number, width: number): string[] {
  const top = y - BOX / 2;
  return [
    `<rect class="${style}" x="${x}" y="${round(top)}" width="${round(width)}" height="${BOX}" rx="5"/>`,
    textAt(x + PAD, top + 14, title),
    textAt(x + PAD, top + 28, note, "small"),
  ];
}

function lineOf(x: number, y: number, toX: number, toY: number): string {
  const middle = round((x + toX) / 2);
  return `<path d="M${round(x)} ${round(y)} C${middle} ${round(y)} ${middle} ${round(toY)} ${round(toX)} ${round(toY)}"/>`;
}

function textAt(x: number, y: number, text: string, style?: string): string {
  return `<text${style ? ` class="${style}"` : ""} x="${round(x)}" y="${round(y)}">${escaped(text)}</text>`;
}

const round = (value: number) => Math.round(value * 10) / 10;

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
