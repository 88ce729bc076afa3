/** Groups of bars side by side, each bar with its name below it and the spread of what it is the mean of. */
import * as s from "../schema/schema.ts";
import { axisLabels } from "./labels.ts";
import { assertDrawable, digits } from "./named-grid.ts";
import { Picture } from "./picture.ts";
import { axisSpec, PLOT_AXIS, type PlotAxis } from "./plot-axis.ts";
import { SERIES_COLOURS, specOf } from "./spec.ts";

/** A bar of a group. */
export interface GroupBar {
  name: string;
  value: number;
  /** Drawn on both sides of the value. */
  spread?: number;
  /** What it is of, which gives its colour; its number in the group when absent. */
  series?: number;
}

/** Bars that stand together. */
export interface BarGroup {
  name: string;
  bars: readonly GroupBar[];
}

/** Options of `groupedBars`. */
export interface GroupedBarsOptions {
  /** Above the picture. */
  title?: string;
  /** What the bars' heights are. */
  y: PlotAxis;
}

const BAR = s.object<GroupBar>("a bar", {
  name: s.required(s.text),
  value: s.required(s.finite),
  spread: s.notNegative,
  series: s.wholeFrom(0),
});
const GROUPS = s.list(
  "groups of bars",
  s.object<BarGroup>("a group of bars", { name: s.required(s.text), bars: s.required(s.list("bars", BAR)) }),
);
export const GROUPED_BARS_OPTIONS = s.object<GroupedBarsOptions>("the options of groupedBars", {
  title: s.text,
  y: s.required(PLOT_AXIS),
});

const HEIGHT = 260;
const STEP = 22;

/** Draws groups of bars. @throws PictureError `picture/size` */
export function groupedBars(groups: readonly BarGroup[], given: GroupedBarsOptions): Picture {
  const read = s.readArgument(GROUPS, groups, "groupedBars", "groups");
  const { title = "", y } = s.readOptions(GROUPED_BARS_OPTIONS, given, "groupedBars");
  const names = axisLabels(read.map(({ name }) => name));
  const bars = read.flatMap((group, index) => barsOf(group, names[index] as string, y));
  assertDrawable("groupedBars", bars.length);
  const { scale, ...side } = axisSpec(y);
  const colour = {
    field: "series",
    type: "ordinal",
    legend: null,
    scale: { domain: [...SERIES_COLOURS.keys()], range: SERIES_COLOURS },
  };
  const spec = specOf(title, STEP * bars.length, {
    data: { values: bars },
    facet: { column: { field: "group", type: "nominal", sort: names, title: null, header: { orient: "bottom" } } },
    resolve: { scale: { x: "independent" } },
    spacing: STEP,
    spec: {
      width: { step: STEP },
      height: HEIGHT,
      encoding: {
        x: { field: "name", type: "nominal", sort: null, title: null, axis: { labelAngle: -40, ticks: false } },
      },
      layer: [
        {
          mark: "bar",
          encoding: {
            y: { field: "value", ...side, scale },
            color: colour,
            description: { field: "label" },
            tooltip: { field: "label" },
          },
        },
        {
          mark: { type: "rule", color: "currentColor", aria: false },
          encoding: { y: { field: "low", type: "quantitative" }, y2: { field: "high" } },
        },
      ],
    },
  });
  const rows = bars.map(({ group, name, label }) => [`${group} ${name}`, label.slice(name.length + 2)]);
  return new Picture(title || y.label, spec, { columns: ["", y.label], rows });
}

/** The bars of a group as data. The ends of a spread stay within the scale. */
function barsOf({ bars }: s.Read<BarGroup>, group: string, { from = -Infinity, to = Infinity }: s.Read<PlotAxis>) {
  const names = axisLabels(bars.map(({ name }) => name));
  return bars.map(({ value, spread = 0, series }, index) => ({
    group,
    name: names[index] as string,
    series: (series ?? index) % SERIES_COLOURS.length,
    value,
    low: Math.max(from, value - spread),
    high: Math.min(to, value + spread),
    label: `${names[index]}: ${digits(value)}${spread ? ` ± ${digits(spread)}` : ""}`,
  }));
}
