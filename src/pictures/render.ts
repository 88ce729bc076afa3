/**
 * Draws a specification as SVG by Vega: compile Vega-Lite, run the dataflow, write the scene. Vega is loaded here, when something is drawn.
 *
 * Expressions are interpreted (`ast`), so that a page with a content security policy needs no `unsafe-eval`. Text is measured by a
 * formula instead of a canvas, which Node and Deno lack: every host gives the same bytes.
 */
import { fnv1a } from "../fnv1a.ts";
import { finished } from "./finish.ts";
import type { VegaLiteSpec } from "./spec.ts";

/** The SVG. `title` is what a screen reader calls it. */
export async function renderSvg(spec: VegaLiteSpec, title: string): Promise<string> {
  const [vega, { compile }, { expressionInterpreter }] = await Promise.all([
    import("vega"),
    import("vega-lite"),
    import("vega-interpreter"),
  ]);
  const text = JSON.stringify(spec);
  // Vega marks the data it is given, so it gets a copy. Warnings are for whoever writes specifications: that widths of grouped bars are as they are meant to be.
  const { spec: compiled } = compile(JSON.parse(text), { logger: vega.logger(vega.Error) });
  const runtime = vega.parse(compiled, {}, { ast: true });
  const view = new vega.View(runtime, { expr: expressionInterpreter, renderer: "none", logLevel: vega.Error });
  const { textMetrics } = vega as unknown as { textMetrics: { width: unknown } }; // which its types leave out
  const { width } = textMetrics;
  textMetrics.width = textWidth;
  view.run(); // the layout; nothing in it is awaited
  textMetrics.width = width;
  const svg = await view.toSVG();
  view.finalize();
  return finished(svg, title, `p${fnv1a(text).toString(36)}`);
}

/** Characters that are as wide as high, and letters that are wider than most; others take about three fifths. */
const FULL =
  /[\p{Script=Han}\p{Script=Hangul}\p{Script=Hiragana}\p{Script=Katakana}\p{Extended_Pictographic}\uff01-\uff60]/u;
const WIDE = /[\p{Lu}mw%@&—…]/u;
const EM = { full: 1.05, wide: 0.78, other: 0.58 };

/** Pixels that a text takes at most, with the usual fonts. */
function textWidth(item: { text?: unknown; fontSize?: number }, text: unknown = item.text): number {
  const ems = [...String(text ?? "")].reduce(
    (sum, letter) => sum + (FULL.test(letter) ? EM.full : WIDE.test(letter) ? EM.wide : EM.other),
    0,
  );
  return Math.round(ems * (item.fontSize ?? 11));
}
