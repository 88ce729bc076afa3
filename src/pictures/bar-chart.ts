/** Bars beside their names, one for each number of a result: contributions to a logit, scores of tokens or heads, probabilities. */
import * as s from "../schema/schema.ts";
import { PictureError } from "./errors.ts";
import { axisLabels } from "./labels.ts";
import { assertDrawable, type Datum, datumOf, digits, type NamedGrid, namedGrid } from "./named-grid.ts";
import { Picture } from "./picture.ts";
import { numberText, SERIES_COLOURS, specOf } from "./spec.ts";

/** Options of `barChart`. */
export interface BarChartOptions {
  /** Above the picture. */
  title?: string;
  /** What the numbers are, with their unit. Default: what is shown. */
  measure?: string;
  /** Which numbers of a result, as for `heatMap`. */
  show?: string;
  /** Names of the bars, in place of those of the result. */
  labels?: readonly string[];
  /** The ends of a line across each bar, such as the least and the largest number that it is the mean of. */
  whiskers?: readonly (readonly [number, number])[];
  /** Only so many, the largest in magnitude first. Default: all in their order, and of more than 40 the 40 largest. */
  top?: number;
}

export const BAR_CHART_OPTIONS = s.object<BarChartOptions>("the options of barChart", {
  title: s.text,
  measure: s.text,
  show: s.text,
  labels: s.list("names", s.text),
  whiskers: s.list("pairs of numbers", s.pair("two numbers", s.finite)),
  top: s.wholeFrom(1),
});

/** Bars that are drawn unless told otherwise. */
const MOST_BARS = 40;
const WIDTH = 360;

interface Bar extends Datum {
  readonly name: string;
  readonly low?: number | undefined;
  readonly high?: number | undefined;
}

/**
 * Draws a bar for each number of a result, or of an object of numbers by name.
 * @throws PictureError for what has no numbers
 */
export function barChart(values: unknown, given: BarChartOptions = {}): Picture {
  const { title, labels, whiskers, top, ...naming } = s.readOptions(BAR_CHART_OPTIONS, given, "barChart");
  const record = isNumbersByName(values) ? values : undefined;
  const grid = namedGrid("barChart", record ? Object.values(record) : values, {}, naming);
  const names = labels ?? (record ? Object.keys(record) : namesOf(grid));
  assertEach("labels", names, grid.values);
  assertEach("whiskers", whiskers ?? grid.values, grid.values);
  const unique = axisLabels(names);
  const bars = Array.from(grid.values, (value, index): Bar => {
    const [low, high] = whiskers?.[index] ?? [];
    return { name: unique[index] as string, ...datumOf(value), ...(low !== undefined && { low, high }) };
  });
  const isCut = top !== undefined || bars.length > MOST_BARS;
  return drawBars(isCut ? largest(bars, top ?? MOST_BARS) : bars, grid.measure, title);
}

/** @throws PictureError `picture/labels` */
function assertEach(what: string, given: ArrayLike<unknown>, bars: ArrayLike<unknown>): void {
  if (given.length === bars.length) return;
  throw new PictureError(
    "picture/labels",
    `barChart: there are ${given.length} ${what} for ${bars.length} bars. Give one for each.`,
  );
}

function isNumbersByName(value: unknown): value is Record<string, number> {
  return s.isRecord(value) && Object.values(value).every((entry) => typeof entry === "number");
}

/** "L0 H3": the names of both axes, where they have any. */
function namesOf({ rows, columns }: NamedGrid): string[] {
  return rows.labels.flatMap((row) => columns.labels.map((column) => [row, column].filter(Boolean).join(" ")));
}

const size = ({ value }: Bar) => (value === null ? -1 : Math.abs(value));
const largest = (bars: readonly Bar[], count: number) => [...bars].sort((a, b) => size(b) - size(a)).slice(0, count);

function drawBars(bars: readonly Bar[], measure: string, title: string | undefined): Picture {
  assertDrawable("barChart", bars.length);
  const spec = specOf(title ?? "", WIDTH, {
    data: { values: bars },
    transform: [{ calculate: `datum.name + ': ' + (${numberText("value")})`, as: "label" }],
    width: WIDTH,
    height: { step: 18 },
    encoding: {
      y: {
        field: "name",
        type: "nominal",
        scale: { domain: bars.map(({ name }) => name) },
        title: null,
        axis: { domain: false, ticks: false },
      },
    },
    layer: [
      {
        mark: "bar",
        encoding: {
          x: { field: "value", type: "quantitative", title: measure, axis: { tickCount: 6 } },
          color: { condition: { test: "datum.value < 0", value: SERIES_COLOURS[4] }, value: SERIES_COLOURS[0] },
          description: { field: "label" },
          tooltip: { field: "label" },
        },
      },
      {
        transform: [{ filter: "isValid(datum.low)" }],
        mark: { type: "rule", color: "currentColor", aria: false },
        encoding: { x: { field: "low", type: "quantitative" }, x2: { field: "high" } },
      },
      {
        transform: [{ filter: "!isValid(datum.value)" }],
        mark: { type: "text", align: "left" },
        encoding: { x: { datum: 0 }, text: { field: "shown" } },
      },
    ],
  });
  const rows = bars.map(({ name, value, shown }) => [name, shown ?? digits(value as number)]);
  return new Picture(title ?? measure, spec, { columns: ["", measure], rows });
}
