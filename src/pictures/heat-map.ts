/** A table as colours: any result with two axes. A cell that is no number is crossed out, so that it looks like none of the scale. */
import * as s from "../schema/schema.ts";
import { type ColourScale, colourOf, colourScale, inkOf } from "./colours.ts";
import { assertDrawable, type Cell, cellsOf, type NamedGrid, namedGrid, tableOf } from "./named-grid.ts";
import type { Axis } from "./numbers.ts";
import { Picture } from "./picture.ts";
import { numberText, specOf, type VegaLiteSpec } from "./spec.ts";

/** Options of `heatMap`. */
export interface HeatMapOptions {
  /** Above the picture. */
  title?: string;
  /** What the numbers are, with their unit: "logit difference", "KL (nats)". Default: what is shown. */
  measure?: string;
  /**
   * Which numbers of a result: of a grid "value", "change" from the base run, or of a patching grid "normalized"; of a lens
   * "probability", "logProb" or "logit"; of a summary of attention "entropy", "distance" or "first"; of a sweep "value" or "change".
   * Default: the first named.
   */
  show?: string;
  /** Names of the rows, in place of those of the result. */
  rows?: readonly string[];
  /** Names of the columns, such as the prompt's tokens. */
  columns?: readonly string[];
  /** What the rows are. */
  rowName?: string;
  /** What the columns are. */
  columnName?: string;
  /** Of a lens: which prompt of the batch. Default 0. */
  batch?: number;
  /** Of a lens: which of the tokens at each place, 0 for the most likely. Default 0. */
  rank?: number;
  /**
   * "diverging" has its middle at 0; "sequential" goes from the least to the largest number or 0. Default: diverging for changes, for
   * normalized numbers, and for numbers of both signs.
   */
  colours?: "diverging" | "sequential";
  /** The numbers that the ends of the scale stand for. */
  range?: readonly [number, number];
  /** Whether numbers, or a lens's tokens, are written into the cells. Default: up to 400 cells. */
  text?: boolean;
}

const NAMES = s.list("names", s.text);

export const HEAT_MAP_OPTIONS = s.object<HeatMapOptions>("the options of heatMap", {
  title: s.text,
  measure: s.text,
  show: s.text,
  rows: NAMES,
  columns: NAMES,
  rowName: s.text,
  columnName: s.text,
  batch: s.whole,
  rank: s.whole,
  colours: s.oneOf("diverging", "sequential"),
  range: s.pair("two numbers", s.finite),
  text: s.flag,
});

const MOST_TEXTS = 400;
const ROW_HEIGHT = 22;
/** Pixels that a letter takes in a cell, and the least width of one. */
const LETTER = 6.6;
const CELL = { bare: 22, ofText: 44 };

/**
 * Draws any result with two axes: grids of sweeps, patching, ablation and tracing, a logit lens, scores of heads or tokens, numbers
 * with a shape, or lists of lists. Rows and columns are named as the result names them.
 * @throws PictureError for what is no grid, or has too many cells
 */
export function heatMap(grid: unknown, given: HeatMapOptions = {}): Picture {
  const { title, batch, rank, colours, range, text, ...naming } = s.readOptions(HEAT_MAP_OPTIONS, given, "heatMap");
  const named = namedGrid("heatMap", grid, { batch, rank }, naming);
  assertDrawable("heatMap", named.values.length);
  const hasText = text ?? named.values.length <= MOST_TEXTS;
  const isSigned = naming.show === "change" || naming.show === "normalized";
  const scale = colourScale(named.values, { colours: colours ?? (isSigned ? "diverging" : undefined), range });
  return drawGrid(named, title, scale, hasText);
}

/** Draws numbers whose names and colours are chosen. */
export function drawGrid(grid: NamedGrid, title: string | undefined, scale: ColourScale, hasText: boolean): Picture {
  const { rows, columns, measure } = grid;
  const cells = cellsOf(grid);
  const width = hasText ? textWidth(cells) : CELL.bare;
  const description = { description: { field: "label" }, tooltip: { field: "label" } };
  const spec = specOf(title ?? "", width * columns.labels.length, {
    data: { values: cells },
    transform: [{ calculate: cellLabel(grid), as: "label" }],
    width: { step: width },
    height: { step: ROW_HEIGHT },
    encoding: {
      x: { ...placeOf("column", columns), axis: columnAxis(columns, width) },
      y: { ...placeOf("row", rows), axis: { domain: false, ticks: false } },
    },
    layer: [
      {
        transform: [{ filter: "isValid(datum.value)" }],
        mark: "rect",
        encoding: { color: colourOf(measure, scale), ...description },
      },
      {
        transform: [{ filter: "!isValid(datum.value)" }],
        mark: "text",
        encoding: { text: hasText ? { field: "shown" } : { value: "×" }, ...description },
      },
      ...(hasText ? [textLayer(grid, scale)] : []),
    ],
  });
  return new Picture(title ?? measure, spec, tableOf(grid));
}

const textWidth = (cells: readonly Cell[]): number =>
  Math.max(CELL.ofText, ...cells.map(({ text = "" }) => LETTER * text.length + 8));

const placeOf = (field: string, { name, labels }: Axis) => ({
  field,
  type: "nominal",
  scale: { domain: labels },
  title: name || null,
});

/** Names of columns lie flat where they fit, and else stand on end. */
function columnAxis({ labels }: Axis, width: number): VegaLiteSpec {
  const fits = Math.max(...labels.map(({ length }) => length)) * LETTER <= width;
  return { labelAngle: fits ? 0 : -90, domain: false, ticks: false };
}

/** An expression for "L0, H3: 0.125", which a cell says as its tooltip and to screen readers. */
function cellLabel({ rows, columns, texts }: NamedGrid): string {
  const places = [
    ...(rows.labels.length > 1 ? ["datum.row"] : []),
    ...(columns.labels.length > 1 ? ["datum.column"] : []),
    ...(texts ? ["datum.text"] : []),
  ];
  const place = places.join(" + ', ' + ");
  return place === "" ? numberText("value") : `${place} + ': ' + (${numberText("value")})`;
}

function textLayer({ texts }: NamedGrid, scale: ColourScale): VegaLiteSpec {
  return {
    transform: [
      { filter: "isValid(datum.value)" },
      { calculate: texts ? "datum.text" : shortNumber(scale), as: "written" },
    ],
    mark: { type: "text", aria: false },
    encoding: { text: { field: "written" }, color: inkOf(scale) },
  };
}

/** Numbers in cells have two digits that count, or all before the point. What is a thousandth of the scale or less is written 0. */
function shortNumber({ from, to }: ColourScale): string {
  const least = 1e-3 * Math.max(Math.abs(from), Math.abs(to));
  return `abs(datum.value) < ${least} ? '0' : format(datum.value, abs(datum.value) < 100 ? '.2~g' : '.0f')`;
}
