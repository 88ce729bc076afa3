/** The demo's pages in the terminal: columns and bars, in colour where stdout is a terminal that wants it. */

import type { Look } from "../../theory/look.ts";
import { bar } from "../output.ts";

const BAR = 24;

/** ANSI colours of the tasks, in turn. */
const TASK_COLOURS = [36, 35, 33, 32, 34, 31];
const BOLD = 1;
const DIM = 2;

/** Colours text, or leaves it as it is. */
export type Paint = (code: number, text: string) => string;

export const painted: Paint = (code, text) => (text === "" ? "" : `\u001b[${code}m${text}\u001b[0m`);
export const plain: Paint = (_, text) => text;

const colourOf = (k: number) => TASK_COLOURS[k % TASK_COLOURS.length] as number;

/** A headline and what stands below it. */
export function section(paint: Paint, title: string, ...lines: string[]): string[] {
  return ["", paint(BOLD, title), "", ...indented(lines)];
}

export function indented(lines: readonly string[]): string[] {
  return lines.map((line) => (line === "" ? "" : `  ${line}`));
}

/** Examples in columns, then the query on a line of its own. */
export function promptLines(paint: Paint, { prompt }: Look, lineWidth = 76): string[] {
  const examples = prompt.slice(0, -1);
  const width = Math.max(...prompt.map((text) => text.length)) + 3;
  const perLine = Math.max(1, Math.floor(lineWidth / width));
  const lines: string[] = [];
  for (let first = 0; first < examples.length; first += perLine) {
    const row = examples.slice(first, first + perLine);
    lines.push(
      row
        .map((text) => text.padEnd(width))
        .join("")
        .trimEnd(),
    );
  }
  return [...lines, paint(BOLD, `${prompt.at(-1)} ?`)];
}

/** What each task explains and answers, and how much its head attends. */
export function taskTable(paint: Paint, { tasks, prompt }: Look): string[] {
  const examples = prompt.length - 1;
  const names = column(["task", ...tasks.map(({ task }) => task)]);
  const explains = column(["explains", ...tasks.map((line) => `${line.explains} of ${examples}`)], "right");
  const answers = column(["answers", ...tasks.map(({ answer }) => answer ?? "-")]);
  return ["its head attends", ...tasks.map(({ attention }) => attention)].map((attention, row) => {
    const start = `${names[row]}   ${explains[row]}   ${answers[row]}   `;
    if (typeof attention === "string") return paint(DIM, start + attention);
    return `${start}${attention.toFixed(4)} ${paint(colourOf(row - 1), bar(attention, BAR))}`;
  });
}

/** p* and the model's p, side by side. */
export function tokenTable(paint: Paint, { tokens, tasks }: Look): string[] {
  const names = column(["token", ...tokens.map(({ token }) => token)]);
  const header = `${names[0]}   ${"counted: p*".padEnd(BAR + 9)}the model: p`;
  const lines = tokens.map(({ token, exact, model }, i) => {
    const task = tasks.findIndex(({ answer }) => answer === token);
    const paintBar = (share: number) => (task < 0 ? bar(share, BAR) : paint(colourOf(task), bar(share, BAR)));
    const gap = " ".repeat(BAR - bar(exact, BAR).length + 2);
    return `${names[i + 1]}   ${exact.toFixed(4)} ${paintBar(exact)}${gap}${model.toFixed(4)} ${paintBar(model)}`;
  });
  return [paint(DIM, header), ...lines];
}

/** Shares before and after an edit. */
export function movedTable(paint: Paint, before: Look, after: Look): string[] {
  const names = column(["task", ...after.tasks.map(({ task }) => task)]);
  const header = `${names[0]}   ${"its head attended".padEnd(BAR + 9)}it attends now`;
  const lines = after.tasks.map(({ attention }, k) => {
    const was = before.tasks[k]?.attention ?? 0;
    const gap = " ".repeat(BAR - bar(was, BAR).length + 2);
    const paintBar = (share: number) => paint(colourOf(k), bar(share, BAR));
    return `${names[k + 1]}   ${was.toFixed(4)} ${paintBar(was)}${gap}${attention.toFixed(4)} ${paintBar(attention)}`;
  });
  return [paint(DIM, header), ...lines];
}

function column(cells: readonly string[], side: "left" | "right" = "left"): string[] {
  const width = Math.max(...cells.map((cell) => cell.length));
  return cells.map((cell) => (side === "left" ? cell.padEnd(width) : cell.padStart(width)));
}
