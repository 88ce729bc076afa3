/** Figures as SVG, by the same library that reports and scripts use. It is large, and loaded when the first figure is drawn. */
import type { BarChartOptions, HeatMapOptions, PointPlotOptions, PointSeries } from "../../pictures/index.ts";

/** A figure as data. */
export type FigureSpec =
  | { readonly kind: "heatMap"; readonly values: readonly (readonly number[])[]; readonly options: HeatMapOptions }
  | { readonly kind: "barChart"; readonly values: Readonly<Record<string, number>>; readonly options: BarChartOptions }
  | { readonly kind: "pointPlot"; readonly values: readonly PointSeries[]; readonly options: PointPlotOptions };

/** Draws a figure. @throws PictureError for more cells than a picture can show */
export async function figure(spec: FigureSpec): Promise<string> {
  const { heatMap, barChart, pointPlot } = await import("../../pictures/index.ts");
  if (spec.kind === "heatMap") return heatMap(spec.values, spec.options).svg();
  if (spec.kind === "barChart") return barChart(spec.values, spec.options).svg();
  return pointPlot(spec.values, spec.options).svg();
}
