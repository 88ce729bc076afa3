/**
 * Pictures of results: heat maps, attention, bars, points and triangles, as SVG, pages, Vega-Lite, or by themselves in a notebook.
 *
 * @module superlens/pictures
 */
export { type AttentionViewOptions, attentionView } from "./attention-view.ts";
export { type BarChartOptions, barChart } from "./bar-chart.ts";
export { PictureError } from "./errors.ts";
export { type BarGroup, type GroupBar, type GroupedBarsOptions, groupedBars } from "./grouped-bars.ts";
export { type HeatMapOptions, heatMap } from "./heat-map.ts";
export type { PatternCache, PatternTensor } from "./patterns.ts";
export { Picture, type PictureTable } from "./picture.ts";
export type { PlotAxis } from "./plot-axis.ts";
export { type Place, type PointPlotOptions, type PointSeries, pointPlot } from "./point-plot.ts";
export type { VegaLiteSpec } from "./spec.ts";
export { type TernaryPlotOptions, ternaryPlot } from "./ternary-plot.ts";
