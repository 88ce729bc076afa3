/** The scale along a side of a plot. */
import * as s from "../schema/schema.ts";
import type { VegaLiteSpec } from "./spec.ts";

/** What a side shows, and from where to where. */
export interface PlotAxis {
  /** With its unit: "probability", "KL (nats)". */
  label: string;
  /** The least number. Default: 0, or less if there is less. */
  from?: number;
  /** The largest number. Default: a round one that is large enough. */
  to?: number;
}

export const PLOT_AXIS = s.object<PlotAxis>("an axis", { label: s.required(s.text), from: s.finite, to: s.finite });

export function axisSpec({ label, from, to }: s.Read<PlotAxis>): VegaLiteSpec {
  const ends = { ...(from !== undefined && { domainMin: from }), ...(to !== undefined && { domainMax: to }) };
  const isFixed = from !== undefined && to !== undefined;
  return {
    type: "quantitative",
    title: label,
    scale: { zero: true, nice: !isFixed, ...ends },
    axis: { tickCount: 6, grid: true },
  };
}
