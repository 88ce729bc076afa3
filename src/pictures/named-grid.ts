/** Numbers with the names of their axes, as pictures draw them: read from a result, and named as the caller says. */
import * as s from "../schema/schema.ts";
import { PictureError } from "./errors.ts";
import { axisLabels, visible } from "./labels.ts";
import { type Axis, type Part, type ReadGrid, readNumbers } from "./numbers.ts";
import type { PictureTable } from "./picture.ts";

export interface NamedGrid {
  readonly rows: Axis;
  readonly columns: Axis;
  /** [rows, columns]; what is no number is NaN or infinite. */
  readonly values: Float64Array;
  /** A text of each cell's own, such as a token. */
  readonly texts?: readonly string[] | undefined;
  /** What the numbers are. */
  readonly measure: string;
}

/** How a caller names what a result holds. */
export interface Naming {
  show?: string | undefined;
  measure?: string | undefined;
  rows?: readonly string[] | undefined;
  columns?: readonly string[] | undefined;
  rowName?: string | undefined;
  columnName?: string | undefined;
}

/** @throws PictureError `picture/form`, `picture/shape`, `picture/labels`, `picture/show`, `picture/range` */
export function namedGrid(call: string, result: unknown, part: Part, naming: Naming): NamedGrid {
  const read = readNumbers(call, result, part);
  const show = showOf(call, read, naming.show);
  const rows = named(call, "rows", read.rows, naming.rows, naming.rowName);
  const columns = named(call, "columns", read.columns, naming.columns, naming.columnName);
  const values = numbersOf(call, (read.shows[show] as () => ArrayLike<number | null>)());
  if (values.length === rows.labels.length * columns.labels.length)
    return { rows, columns, values, texts: read.texts, measure: naming.measure ?? show };
  throw new PictureError(
    "picture/shape",
    `${call} got ${values.length} numbers for ${rows.labels.length} rows of ${columns.labels.length}. Give as many.`,
  );
}

function showOf(call: string, { shows }: ReadGrid, asked: string | undefined): string {
  const names = Object.keys(shows);
  const [first] = names as [string];
  if (asked === undefined || names.includes(asked)) return asked ?? first;
  throw new PictureError("picture/show", `${call}: this result has no "${asked}" to show. It has ${names.join(", ")}.`);
}

function named(
  call: string,
  what: string,
  axis: Axis,
  labels: readonly string[] | undefined,
  name: string | undefined,
): Axis {
  const texts = labels ?? Array.from(axis.labels, String);
  if (texts.length === axis.labels.length) return { name: name ?? axis.name, labels: axisLabels(texts) };
  throw new PictureError(
    "picture/labels",
    `${call}: there are ${texts.length} names for ${axis.labels.length} ${what}. Give one for each.`,
  );
}

/** @throws PictureError `picture/shape` for what holds other things than numbers; JSON's null stands for NaN. */
function numbersOf(call: string, values: ArrayLike<number | null>): Float64Array {
  return Float64Array.from(values as ArrayLike<number>, (value: unknown, index) => {
    if (value === null) return Number.NaN;
    if (typeof value === "number") return value;
    throw new PictureError("picture/shape", `${call}: value ${index} is ${s.describe(value)}, not a number.`);
  });
}

/** More cells than that are no picture: an SVG of 10 MB. */
const MOST_CELLS = 40_000;

/** @throws PictureError `picture/size` */
export function assertDrawable(call: string, cells: number, least = 1): void {
  if (cells >= least && cells <= MOST_CELLS) return;
  throw new PictureError(
    "picture/size",
    `${call} got ${cells} numbers, and a picture has ${least} to ${MOST_CELLS}. Draw a part: fewer positions, layers or heads.`,
  );
}

/** A number in the data of a specification; what is none has `shown` in its place. */
export interface Datum {
  value: number | null;
  shown?: string;
}

/** A cell with the names of its place. */
export interface Cell extends Datum {
  row: string;
  column: string;
  text?: string;
}

const NO_NUMBER: Readonly<Record<string, string>> = { NaN: "NaN", Infinity: "∞", "-Infinity": "−∞" };

export function datumOf(value: number): Datum {
  return Number.isFinite(value) ? { value } : { value: null, shown: NO_NUMBER[String(value)] as string };
}

export function cellsOf({ rows, columns, values, texts }: NamedGrid): Cell[] {
  return Array.from(values, (value, index) => ({
    row: rows.labels[Math.floor(index / columns.labels.length)] as string,
    column: columns.labels[index % columns.labels.length] as string,
    ...datumOf(value),
    ...(texts && { text: visible(texts[index] as string) }),
  }));
}

/** A number in a table. */
export const digits = (value: number): string => NO_NUMBER[String(value)] ?? String(Number(value.toPrecision(4)));

/** The numbers as a table: what a terminal shows, and a page below the picture. */
export function tableOf({ rows, columns, values, texts }: NamedGrid): PictureTable {
  const width = columns.labels.length;
  const cell = (index: number) =>
    [...(texts ? [visible(texts[index] as string)] : []), digits(values[index] as number)].join(" ");
  return {
    columns: ["", ...columns.labels],
    rows: rows.labels.map((label, row) => [label, ...columns.labels.map((_, column) => cell(row * width + column))]),
  };
}
