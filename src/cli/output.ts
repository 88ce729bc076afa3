/**
 * What commands print, and the one rule about it: stdout carries the result and nothing else, so that it can be piped;
 * progress, notes and errors go to stderr. A reader that goes away (`| head`) ends the command without a word.
 */
import { inspect } from "node:util";
import { SuperlensError } from "../errors.ts";

/** Writes text to stdout as it is. Once nobody reads any more it goes nowhere (see `stop.ts`). */
export function write(text: string): void {
  process.stdout.write(text);
}

/** Writes lines to stdout. */
export function print(...lines: string[]): void {
  write(lines.map((line) => `${line}\n`).join(""));
}

/** An array of numbers as `JSON.stringify` indents it; a line break stands only between values, never inside text. */
const INDENTED_NUMBERS = /\[\n\s+(-?\d[^[\]{}"]*?)\n\s*\]/g;

/** Writes one JSON value to stdout, for programs; `JSON.parse` of all of stdout gives it back. */
export function printJson(value: unknown): void {
  const onOneLine = (_array: string, numbers: string) => `[${numbers.replace(/\n\s+/g, " ")}]`;
  print(JSON.stringify(value, null, 2).replace(INDENTED_NUMBERS, onOneLine));
}

/** Writes a line to stderr. */
export function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Whether the command line asks for JSON: known before it is parsed, since parsing may fail. */
export const wantsJson = (args: readonly string[]): boolean => args.includes("--json");

/** An error as programs read it. */
export interface Failure {
  /** A code of docs/errors.md, one of the operating system, or `unexpected`. */
  code: string;
  message: string;
  /** For those who set SUPERLENS_DEBUG=1. */
  stack?: string;
}

/** Says on stderr why the command failed: one line, as text or as JSON, and the stack for those who set SUPERLENS_DEBUG=1. */
export function reportFailure(error: unknown, asJson: boolean): void {
  const failure = failureOf(error);
  const { code, message } = failure;
  const stack = process.env.SUPERLENS_DEBUG === "1" ? inspect(error) : undefined;
  const place = code.includes("/") ? ` [${code}, see docs/errors.md#${anchorOf(code)}]` : "";
  if (asJson) noteJson({ ...failure, ...(stack && { stack }) });
  else for (const line of [`superlens: ${message}${place}`, ...(stack ? [stack] : [])]) note(line);
}

/** Writes an error to stderr as one line of JSON. */
export function noteJson(error: Failure): void {
  note(JSON.stringify({ error }));
}

/** Where docs/errors.md explains a code: `hook/no-path` has the anchor `hook-no-path`. */
const anchorOf = (code: string) => code.replace("/", "-");

function failureOf(error: unknown): Failure {
  if (error instanceof SuperlensError) return { code: error.code, message: error.message };
  if (!(error instanceof Error)) return { code: "unexpected", message: String(error) };
  // The system's own errors (no such folder, no space left) are clear; any other one is a bug of ours.
  if ("syscall" in error && "code" in error) return { code: String(error.code), message: error.message };
  const message = `unexpected ${error.name}: ${error.message.split("\n")[0]} (SUPERLENS_DEBUG=1 shows where)`;
  return { code: "unexpected", message };
}

/** How stdout is read: a terminal gets colours unless NO_COLOR is set (FORCE_COLOR asks for them anywhere), and has a width. */
export function terminal(): { colours: boolean; width: number | undefined } {
  const { FORCE_COLOR, NO_COLOR } = process.env;
  const { isTTY, columns } = process.stdout;
  return {
    colours: FORCE_COLOR ? FORCE_COLOR !== "0" : isTTY === true && !NO_COLOR,
    width: isTTY ? columns : undefined,
  };
}

export type Alignment = "left" | "right";

/** Rows as columns of equal width, two spaces apart. The last column is not padded. */
export function table(rows: readonly (readonly string[])[], alignments: readonly Alignment[] = []): string[] {
  const count = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from({ length: count }, (_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) => {
    const cells = row.map((cell, column) => {
      const width = widths[column] as number;
      if (alignments[column] === "right") return cell.padStart(width);
      return column === row.length - 1 ? cell : cell.padEnd(width);
    });
    return cells.join("  ").trimEnd();
  });
}

/** Parts of a character: from the left, and from below. */
const EIGHTHS = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
const RISING = ["", "▁", "▂", "▃", "▄", "▅", "▆", "▇"];

/** A bar for `fraction` (0 to 1) of `width` characters, exact to an eighth of one. */
export function bar(fraction: number, width: number, eighthsOf: readonly string[] = EIGHTHS): string {
  const eighths = Math.round(Math.min(1, Math.max(0, fraction)) * width * 8);
  return "█".repeat(Math.floor(eighths / 8)) + eighthsOf[eighths % 8];
}

const CHART_WIDTH = 64;
const CHART_HEIGHT = 8;

/** Values in order as columns, each the mean of its part, between the least mean and the largest. */
export function chart(values: readonly number[]): string[] {
  const width = Math.min(CHART_WIDTH, values.length);
  const means = Array.from({ length: width }, (_, column) => {
    const [from, to] = [column, column + 1].map((edge) => Math.floor((edge * values.length) / width));
    const part = values.slice(from, to);
    return part.reduce((sum, value) => sum + value, 0) / part.length;
  });
  const [least, most] = [Math.min(...means), Math.max(...means)];
  const label = (row: number) =>
    (row === 0 ? most : row === CHART_HEIGHT - 1 ? least : undefined)?.toPrecision(4) ?? "";
  return Array.from({ length: CHART_HEIGHT }, (_, row) => {
    const cells = means.map((mean) => {
      // The least value still shows: an eighth of the lowest row.
      const height = 1 / 8 + ((mean - least) / (most - least || 1)) * (CHART_HEIGHT - 1 / 8);
      return bar(height - (CHART_HEIGHT - 1 - row), 1, RISING) || " ";
    });
    return `${label(row).padStart(8)} ▕${cells.join("").trimEnd()}`;
  });
}

const UNITS = ["bytes", "kB", "MB", "GB", "TB"];

/** Bytes in decimal units with three significant digits: 1314128 is "1.31 MB". */
export function bytes(count: number): string {
  let unit = 0;
  let value = count;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toPrecision(3)} ${UNITS[unit]}`;
}

/** A whole number with separators: 1234567 is "1,234,567". */
export function grouped(count: number): string {
  return count.toLocaleString("en-US");
}

/** A token's text in quotes, with line breaks and the like visible. */
export function quoted(text: string): string {
  return JSON.stringify(text);
}

/** A probability as a percentage; a small one keeps two digits. */
export function percent(probability: number): string {
  const value = 100 * probability;
  return value >= 0.01 || value === 0 ? `${value.toFixed(2)}%` : `${value.toExponential(1)}%`;
}
