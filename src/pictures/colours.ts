/**
 * Numbers as colours. Signed numbers go from red by white at 0 to blue, as in TransformerLens's demos; others from dark to bright
 * (viridis). The colour-blind can read both.
 */
import type { VegaLiteSpec } from "./spec.ts";

/** The ends of a scale, and whether its middle is 0. */
export interface ColourScale {
  readonly from: number;
  readonly to: number;
  readonly isDiverging: boolean;
}

/** What a caller chooses; the rest follows from the numbers. */
export interface ColourChoice {
  colours?: "diverging" | "sequential" | undefined;
  range?: readonly [number, number] | undefined;
}

export function colourScale(values: Float64Array, { colours, range }: ColourChoice): ColourScale {
  const finite = values.filter(Number.isFinite);
  const least = finite.reduce((a, b) => Math.min(a, b), 0);
  const most = finite.reduce((a, b) => Math.max(a, b), 0);
  const isDiverging = colours ? colours === "diverging" : least < 0 && most > 0;
  if (range) return { from: Math.min(...range), to: Math.max(...range), isDiverging };
  const largest = Math.max(-least, most) || 1;
  if (isDiverging) return { from: -largest, to: largest, isDiverging };
  return { from: least, to: most > least ? most : 1, isDiverging };
}

/** The colour of a mark by its field `value`. */
export function colourOf(measure: string, { from, to, isDiverging }: ColourScale): VegaLiteSpec {
  const scheme = isDiverging ? { scheme: "redblue", domainMid: 0 } : { scheme: "viridis" };
  return {
    field: "value",
    type: "quantitative",
    title: measure,
    scale: { ...scheme, domain: [from, to], clamp: true },
  };
}

/** White on the dark parts of a scale, black on others: an expression's condition, as an encoding. */
export function inkOf({ from, to, isDiverging }: ColourScale): VegaLiteSpec {
  const place = `(datum.value - ${from}) / ${to - from}`;
  const isDark = isDiverging ? `abs(datum.value) > ${0.6 * Math.max(-from, to)}` : `${place} < 0.55`;
  return { condition: { test: isDark, value: "#fff" }, value: "#000" };
}
