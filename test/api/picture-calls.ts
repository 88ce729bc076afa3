/** Calls of `superlens/pictures`. */
import { ATTENTION_VIEW_OPTIONS } from "../../src/pictures/attention-view.ts";
import { BAR_CHART_OPTIONS } from "../../src/pictures/bar-chart.ts";
import { GROUPED_BARS_OPTIONS } from "../../src/pictures/grouped-bars.ts";
import { HEAT_MAP_OPTIONS } from "../../src/pictures/heat-map.ts";
import { POINT_PLOT_OPTIONS } from "../../src/pictures/point-plot.ts";
import { TERNARY_PLOT_OPTIONS } from "../../src/pictures/ternary-plot.ts";
import type { Call } from "./calls.ts";
import * as api from "./public.ts";

const PATTERN = { shape: [1, 2, 2, 2], data: new Float32Array(8) };
const GROUPS: api.BarGroup[] = [{ name: "a", bars: [{ name: "b", value: 1 }] }];
const SERIES: api.PointSeries[] = [{ name: "a", line: [[0, 1]], points: [[1, 0]] }];
const Y = { label: "probability" };
const CORNERS = ["a", "b", "c"];

/** The calls, and a picture of each result that was given. */
export function pictureCalls(results: readonly unknown[], cache: api.ActivationCache): Call[] {
  return [
    { name: "heatMap", args: [[[1, 2]], {}], run: api.heatMap, options: HEAT_MAP_OPTIONS },
    ...results.map((result) => ({
      name: "a heat map of a result",
      args: [{}],
      run: (options: api.HeatMapOptions) => api.heatMap(result, options),
      options: HEAT_MAP_OPTIONS,
    })),
    { name: "barChart", args: [[1, 2], {}], run: api.barChart, options: BAR_CHART_OPTIONS },
    { name: "attentionView", args: [PATTERN, {}], run: api.attentionView, options: ATTENTION_VIEW_OPTIONS },
    {
      name: "attentionView of a cache",
      args: [{}],
      run: (options) => api.attentionView(cache, options),
      options: ATTENTION_VIEW_OPTIONS,
    },
    { name: "groupedBars", args: [GROUPS, { y: Y }], run: api.groupedBars, options: GROUPED_BARS_OPTIONS },
    { name: "pointPlot", args: [SERIES, { x: Y, y: Y }], run: api.pointPlot, options: POINT_PLOT_OPTIONS },
    {
      name: "ternaryPlot",
      args: [[[1, 0, 0]], { corners: CORNERS }],
      run: api.ternaryPlot,
      options: TERNARY_PLOT_OPTIONS,
    },
  ];
}
