/** Three shares of each prompt as a point in a triangle: in a corner one has all, in the middle each a third. */
import * as s from "../schema/schema.ts";
import { visible } from "./labels.ts";
import { assertDrawable, digits } from "./named-grid.ts";
import { Picture } from "./picture.ts";
import { SERIES_COLOURS, specOf, type VegaLiteSpec } from "./spec.ts";

/** Options of `ternaryPlot`. */
export interface TernaryPlotOptions {
  /** Above the picture. */
  title?: string;
  /** Names of the three corners: lower left, lower right, top. */
  corners: readonly string[];
}

/** Numbers of three. */
const triple = <T>(takes: string, schema: s.Schema<T>): s.Schema<T[]> => {
  const list = s.list(takes, schema);
  return {
    ...list,
    takes,
    read: (value, at) => (s.isListLike(value) && value.length === 3 ? list.read(value, at) : at.refuse(value, takes)),
  };
};

const POINTS = s.list("points of three probabilities", triple("three numbers of at least 0", s.notNegative));
export const TERNARY_PLOT_OPTIONS = s.object<TernaryPlotOptions>("the options of ternaryPlot", {
  title: s.text,
  corners: s.required(triple("three names", s.text)),
});

const SIZE = 300;
const HEIGHT = Math.sqrt(3) / 2;
const CORNERS = [
  { x: 0, y: 0, dy: 14, align: "left" },
  { x: 1, y: 0, dy: 14, align: "right" },
  { x: 0.5, y: HEIGHT, dy: -10, align: "center" },
] as const;
const MIDDLE = { x: 0.5, y: HEIGHT / 3 };
const CAPTION = "The fainter a point, the more of its probability lies elsewhere.";

/**
 * Draws a point for each three probabilities, by each one's part of their sum; the fainter, the smaller the sum.
 * @throws PictureError `picture/size`
 */
export function ternaryPlot(points: readonly (readonly number[])[], given: TernaryPlotOptions): Picture {
  const read = s.readArgument(POINTS, points, "ternaryPlot", "points");
  const { title = "", corners } = s.readOptions(TERNARY_PLOT_OPTIONS, given, "ternaryPlot");
  assertDrawable("ternaryPlot", read.length, 0);
  const names = corners.map(visible);
  const side = (domain: readonly [number, number], field: "x" | "y") => ({
    field,
    type: "quantitative",
    axis: null,
    scale: { domain, nice: false, zero: false },
  });
  const spec = specOf(title, SIZE, {
    width: SIZE,
    height: Math.round(SIZE * HEIGHT),
    encoding: { x: side([0, 1], "x"), y: side([0, HEIGHT], "y") },
    layer: [
      path([...CORNERS, CORNERS[0]], { opacity: 0.7 }),
      ...CORNERS.map((corner) => path([MIDDLE, corner], { opacity: 0.5, strokeDash: [5, 4], strokeWidth: 1 })),
      ...CORNERS.map(({ x, y, dy, align }, corner) => ({
        data: { values: [{ x, y, name: names[corner] }] },
        mark: { type: "text", align, dy, fontSize: 12 },
        encoding: { text: { field: "name" } },
      })),
      {
        data: { values: read.map((point) => datumOf(point, names)) },
        mark: { type: "circle", size: 30, color: SERIES_COLOURS[0] },
        encoding: {
          opacity: { field: "opacity", type: "quantitative", scale: null },
          description: { field: "label" },
          tooltip: { field: "label" },
        },
      },
      {
        data: { values: [{ x: 0, y: 0 }] },
        mark: { type: "text", text: CAPTION, align: "left", dy: 36, fontSize: 11 },
      },
    ],
  });
  return new Picture(title || names.join(", "), spec, {
    columns: ["", ...names],
    rows: read.map((point, index) => [String(index), ...point.map(digits)]),
  });
}

function path(places: readonly { x: number; y: number }[], style: VegaLiteSpec): VegaLiteSpec {
  return {
    data: { values: places.map(({ x, y }, order) => ({ x, y, order })) },
    mark: { type: "line", color: "currentColor", aria: false, ...style },
    encoding: { order: { field: "order", type: "quantitative" } },
  };
}

/** Where a point lies, how faint it is and what it says. */
function datumOf(point: readonly number[], names: readonly string[]) {
  const sum = point.reduce((total, value) => total + value, 0);
  const along = (side: "x" | "y") =>
    point.reduce((at, value, corner) => at + (value / Math.max(sum, 1e-30)) * (CORNERS[corner]?.[side] as number), 0);
  return {
    x: along("x"),
    y: along("y"),
    opacity: Number((0.1 + 0.6 * Math.min(1, sum)).toFixed(2)),
    label: names.map((name, corner) => `${name}: ${digits(point[corner] as number)}`).join(", "),
  };
}
