/** Lines through means with each single point around them, and plain scatter plots. Series differ in colour and shape. */
import * as s from "../schema/schema.ts";
import { axisLabels } from "./labels.ts";
import { assertDrawable, digits } from "./named-grid.ts";
import { Picture } from "./picture.ts";
import { axisSpec, PLOT_AXIS, type PlotAxis } from "./plot-axis.ts";
import { SERIES_COLOURS, specOf } from "./spec.ts";

/** A point: how far to the right, and how far up. */
export type Place = readonly [x: number, y: number];

/** What has one colour and shape. */
export interface PointSeries {
  name: string;
  /** Joined by a line. */
  line?: readonly Place[];
  /** Single points, as of prompts; fainter beside lines. */
  points?: readonly Place[];
}

/** Options of `pointPlot`. */
export interface PointPlotOptions {
  /** Above the picture. */
  title?: string;
  /** From left to right. */
  x: PlotAxis;
  /** From below. */
  y: PlotAxis;
  /** A dashed line: what would be if both were equal. */
  diagonal?: boolean;
  /** Single points are moved sideways by up to so much, so that equal ones are seen. The same points give the same plot. */
  jitter?: number;
}

const PLACES = s.list("points [x, y]", s.pair("two numbers", s.finite));
const SERIES = s.list(
  "series of points",
  s.object<PointSeries>("a series", { name: s.required(s.text), line: PLACES, points: PLACES }),
);
export const POINT_PLOT_OPTIONS = s.object<PointPlotOptions>("the options of pointPlot", {
  title: s.text,
  x: s.required(PLOT_AXIS),
  y: s.required(PLOT_AXIS),
  diagonal: s.flag,
  jitter: s.notNegative,
});

const [WIDTH, HEIGHT, LEGEND] = [410, 270, 120];
const SHAPES = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross"];

/** -1 .. 1, evenly spread over successive numbers. */
const spreadOf = (index: number) => 2 * ((index * 0.618034) % 1) - 1;

/** Draws series of points. @throws PictureError `picture/size` */
export function pointPlot(series: readonly PointSeries[], given: PointPlotOptions): Picture {
  const read = s.readArgument(SERIES, series, "pointPlot", "series");
  const { title = "", x, y, diagonal = false, jitter = 0 } = s.readOptions(POINT_PLOT_OPTIONS, given, "pointPlot");
  const names = axisLabels(read.map(({ name }) => name));
  const rowsOf = (kind: "line" | "points") =>
    read.flatMap((one, index) =>
      (one[kind] ?? []).map(([px, py], order) => ({ series: names[index] as string, x: px, y: py, order })),
    );
  const lines = rowsOf("line");
  const points = rowsOf("points").map((point) => ({ ...point, x: point.x + jitter * spreadOf(point.order) }));
  assertDrawable("pointPlot", lines.length + points.length, 0);
  const colour = { field: "series", type: "nominal", title: null, scale: { domain: names, range: SERIES_COLOURS } };
  const shape = { ...colour, scale: { domain: names, range: SHAPES } };
  const place = { x: { field: "x", ...axisSpec(x) }, y: { field: "y", ...axisSpec(y) } };
  const hasLines = lines.length > 0;
  const spec = specOf(title, WIDTH + LEGEND, {
    width: WIDTH,
    height: HEIGHT,
    encoding: place,
    layer: [
      ...(diagonal ? [equalLayer(x, y, [...lines, ...points])] : []),
      {
        data: { values: points },
        mark: { type: "point", filled: true, size: hasLines ? 14 : 30, opacity: hasLines ? 0.35 : 0.7, aria: false },
        encoding: { color: colour, shape },
      },
      {
        data: { values: lines },
        mark: { type: "line", aria: false },
        encoding: { color: colour, order: { field: "order", type: "quantitative" } },
      },
      {
        data: { values: lines },
        transform: [
          { calculate: "datum.series + ': ' + format(datum.x, '.4~g') + ', ' + format(datum.y, '.4~g')", as: "label" },
        ],
        mark: { type: "point", filled: true, size: 40, opacity: 1 },
        encoding: { color: colour, shape, description: { field: "label" }, tooltip: { field: "label" } },
      },
    ],
  });
  const rows = [...lines, ...points].map((one) => [one.series, digits(one.x), digits(one.y)]);
  return new Picture(title || y.label, spec, { columns: ["", x.label, y.label], rows });
}

/** The line of equal x and y, as far as both scales go. */
function equalLayer(x: s.Read<PlotAxis>, y: s.Read<PlotAxis>, places: readonly { x: number; y: number }[]) {
  const ends = (side: "x" | "y", { from, to }: s.Read<PlotAxis>) => [
    from ?? Math.min(0, ...places.map((place) => place[side])),
    to ?? Math.max(0, ...places.map((place) => place[side])),
  ];
  const [[left, right], [low, high]] = [ends("x", x), ends("y", y)] as [[number, number], [number, number]];
  const [from, to] = [Math.max(left, low), Math.min(right, high)];
  return {
    data: {
      values: [
        { x: from, y: from },
        { x: to, y: to },
      ],
    },
    mark: { type: "line", color: "currentColor", opacity: 0.5, strokeDash: [5, 4], strokeWidth: 1, aria: false },
  };
}
