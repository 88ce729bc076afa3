/**
 * Numbers with a name for each row and column, out of any result of this library. Each form of result is a row of the table below.
 *
 * Results are known by their fields, not by their classes: a page whose engine runs in a worker gets copies without methods, and
 * drawing loads nothing of the engine.
 */
import type { AttentionSummary, Grid, GridAxis, GridJson, HeadScores, LogitLens, PatchGrid } from "../hooks/index.ts";
import * as s from "../schema/schema.ts";
import { PictureError } from "./errors.ts";
import { numbered } from "./labels.ts";

/** Rows or columns. */
export interface Axis {
  /** What they are: "layer", "position", "head". Empty: nothing is said. */
  readonly name: string;
  readonly labels: readonly string[];
}

type Numbers = ArrayLike<number | null>;

/** A result as it is read: what of it can be shown. */
export interface ReadGrid {
  readonly rows: Axis;
  readonly columns: Axis;
  /** Ways to show it by name, the first of them by default; each gives [rows, columns], row-major. */
  readonly shows: Readonly<Record<string, () => Numbers>>;
  /** A text for each cell, such as the token that a lens predicts. */
  readonly texts?: readonly string[];
}

/** Which part of a result with more axes. */
export interface Part {
  batch?: number | undefined;
  rank?: number | undefined;
}

interface Form {
  /** In words. */
  readonly is: string;
  fits(value: Fields): boolean;
  read(value: Fields, part: Part): ReadGrid;
  /** What of `Part` it uses. */
  readonly uses?: readonly (keyof Part)[];
}

// biome-ignore lint/suspicious/noExplicitAny: fields of what a caller gave, which `fits` looks at
type Fields = any;

const isAxis = (value: Fields): value is GridAxis => s.isListLike(value?.labels);

const FORMS: readonly Form[] = [
  {
    is: "a grid of a sweep, patching, ablation or tracing",
    fits: ({ rows, columns, values }) => isAxis(rows) && isAxis(columns) && s.isListLike(values),
    read: readGrid,
  },
  {
    is: "a comparison of attribution with exact patching",
    fits: ({ grid }) => isAxis(grid?.rows) && isAxis(grid.columns) && s.isListLike(grid.values),
    read: ({ grid }) => readGrid(grid),
  },
  {
    is: "a logit lens",
    fits: ({ labels, shape, logProbs, positions }) =>
      s.isListLike(labels) && shape?.length === 4 && s.isListLike(logProbs) && s.isListLike(positions),
    read: readLens,
    uses: ["batch", "rank"],
  },
  {
    is: "scores of heads",
    fits: ({ layers, nHeads, values }) => s.isListLike(layers) && s.isWhole(nHeads, 1) && s.isListLike(values),
    read: ({ layers, nHeads, values }: HeadScores) => ({
      ...layersByHeads(layers, nHeads),
      shows: { score: () => values },
    }),
  },
  {
    is: "a summary of attention",
    fits: ({ mean, layers, shape }) => s.isListLike(mean?.entropy) && s.isListLike(layers) && s.isListLike(shape),
    read: ({ mean, layers, shape }: AttentionSummary) => ({
      ...layersByHeads(layers, shape[1]),
      shows: { entropy: () => mean.entropy, distance: () => mean.distance, first: () => mean.first },
    }),
  },
  {
    is: "scores of tokens",
    fits: ({ positions, scores }) => isAxis(positions) && s.isListLike(scores),
    read: ({ positions, scores }) => ({
      rows: { name: "", labels: [""] },
      columns: positions,
      shows: { score: () => scores },
    }),
  },
  {
    is: "contributions to a logit",
    fits: ({ labels, values, batch }) => s.isListLike(labels) && s.isListLike(values) && s.isWhole(batch, 1),
    read: ({ labels, values, batch }) => ({
      rows: { name: "component", labels },
      columns: { name: batch > 1 ? "prompt" : "", labels: batch > 1 ? numbered(batch) : [""] },
      shows: { contribution: () => values },
    }),
  },
  {
    is: "a sweep",
    fits: ({ values, columns, base }) => s.isListLike(values) && s.isWhole(columns, 1) && s.isListLike(base),
    read: ({ values, columns, base }) => ({
      rows: { name: "cell", labels: numbered(values.length / columns) },
      columns: { name: columns > 1 ? "metric" : "", labels: columns > 1 ? numbered(columns) : [""] },
      shows: {
        value: () => values,
        change: () => Float64Array.from(values as number[], (value, cell) => value - base[cell % columns]),
      },
    }),
  },
  {
    is: "numbers with a shape",
    fits: ({ shape, data, values }) => s.isListLike(shape) && s.isListLike(data ?? values),
    read: ({ shape, data, values }) => readShaped(Array.from(shape as number[]), data ?? values),
  },
  {
    is: "a list of lists of numbers",
    fits: (value) => s.isListLike(value) && value.length > 0 && s.isListLike(value[0]),
    read: readNested,
  },
  {
    is: "a list of numbers",
    fits: (value) => s.isListLike(value) && value.length > 0,
    read: (values: ArrayLike<number>) => ({
      rows: { name: "", labels: [""] },
      columns: { name: "", labels: numbered(values.length) },
      shows: { value: () => values },
    }),
  },
];

/** What results can be drawn, in words. */
const KNOWN = FORMS.map(({ is }) => is).join("; ");

/** Reads a result. @throws PictureError `picture/form`, `picture/shape`, `picture/range` */
export function readNumbers(call: string, value: unknown, part: Part): ReadGrid {
  const fields = (value ?? {}) as Fields;
  const form = typeof fields === "object" ? FORMS.find(({ fits }) => fits(fields)) : undefined;
  if (!form) throw new PictureError("picture/form", `${call} cannot draw ${s.describe(value)}. It draws ${KNOWN}.`);
  for (const name of ["batch", "rank"] as const)
    if (part[name] !== undefined && !form.uses?.includes(name)) s.refuseIdle(call, name, `of ${form.is}`);
  return form.read(fields, part);
}

function layersByHeads(layers: ArrayLike<number>, heads: number): { rows: Axis; columns: Axis } {
  const rows = Array.from(layers, (layer) => `L${layer}`);
  return { rows: { name: "layer", labels: rows }, columns: { name: "head", labels: numbered(heads, "H") } };
}

/** A grid, one that crossed from a worker, or one as JSON. */
function readGrid({
  rows,
  columns,
  values: given,
  base,
  clean,
  corrupted,
}: (Grid | GridJson) & Partial<PatchGrid>): ReadGrid {
  const values = Array.from(given as ArrayLike<unknown>).flat() as (number | null)[];
  const from = (map: (value: number) => number) => () => values.map((value) => (value === null ? null : map(value)));
  const axis = ({ name, labels }: GridAxis): Axis => ({ name: name === "whole" ? "" : name, labels });
  const isPatch = clean !== undefined && corrupted !== undefined && clean !== corrupted;
  return {
    rows: axis(rows),
    columns: axis(columns),
    shows: {
      value: () => values,
      ...(base === undefined ? {} : { change: from((value) => value - base) }),
      ...(isPatch ? { normalized: from((value) => (value - corrupted) / (clean - corrupted)) } : {}),
    },
  };
}

/** One prompt of a lens: places in depth by positions. The deepest place is the last row. */
function readLens(lens: LogitLens, { batch = 0, rank = 0 }: Part): ReadGrid {
  const [layers, sequences, width, count] = lens.shape;
  checkPart("batch entry", batch, sequences);
  checkPart("rank", rank, count);
  const positions = Array.from(lens.positions[batch] ?? []);
  const places = Array.from({ length: layers }, (_, layer) =>
    positions.map((_, place) => ((layer * sequences + batch) * width + place) * count + rank),
  ).flat();
  const pick = (values: ArrayLike<number>) => places.map((place) => values[place] as number);
  const token = (place: number) => `#${lens.tokens[place]}`;
  const texts = lens.labels.flatMap((label) =>
    positions.map((position) => ("at" in lens ? lens.at(label, position, batch)[rank]?.text : undefined)),
  );
  return {
    rows: { name: "residual", labels: lens.labels },
    columns: { name: "position", labels: positions.map(String) },
    shows: {
      probability: () => pick(lens.logProbs).map(Math.exp),
      logProb: () => pick(lens.logProbs),
      logit: () => pick(lens.logits),
    },
    texts: texts.map((text, cell) => text ?? token(places[cell] as number)),
  };
}

/** @throws PictureError `picture/range` */
function checkPart(what: string, given: number, count: number): void {
  if (given >= 0 && given < count) return;
  throw new PictureError("picture/range", `There is no ${what} ${given}; they go from 0 to ${count - 1}.`);
}

/** Numbers of two axes, but for axes of length 1; of four where both pairs are alike: composition scores of pairs of heads. */
function readShaped(shape: readonly number[], data: ArrayLike<number>): ReadGrid {
  const [layers = 0, heads = 0, readerLayers, readerHeads] = shape;
  if (shape.length === 4 && layers === readerLayers && heads === readerHeads && layers * heads > 1) {
    const names = numbered(layers, "L").flatMap((layer) => numbered(heads, `${layer}H`));
    return {
      rows: { name: "writer", labels: names },
      columns: { name: "reader", labels: names },
      shows: { score: () => data },
    };
  }
  const long = shape.filter((size) => size !== 1);
  if (long.length > 2)
    throw new PictureError(
      "picture/shape",
      `The shape is [${shape.join(", ")}], and a picture has two axes. Take a part, such as one head, or use attentionView for patterns.`,
    );
  const [rows = 1, columns = 1] = shape.length === 2 ? shape : long.length === 2 ? long : [1, ...long];
  return {
    rows: { name: "", labels: numbered(rows) },
    columns: { name: "", labels: numbered(columns) },
    shows: { value: () => data },
  };
}

function readNested(lines: ArrayLike<ArrayLike<number>>): ReadGrid {
  const rows = Array.from(lines);
  const width = rows[0]?.length ?? 0;
  const bad = rows.findIndex((row) => !s.isListLike(row) || row.length !== width);
  if (bad >= 0)
    throw new PictureError(
      "picture/shape",
      `List ${bad} is not of ${width} numbers as list 0 is. Give lists of one length.`,
    );
  return {
    rows: { name: "", labels: numbered(rows.length) },
    columns: { name: "", labels: numbered(width) },
    shows: { value: () => rows.flatMap((row) => Array.from(row)) },
  };
}
