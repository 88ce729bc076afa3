/**
 * What all pictures share as Vega-Lite: colours, fonts, and text that is never cut.
 *
 * Text and axes have the colour of the text around them (`currentColor`), so that one drawing is readable in light and dark. Series
 * have the colours of Okabe and Ito, which people who do not see red or green can tell apart.
 */

/** A Vega-Lite specification: plain JSON, for vega-embed, Altair, a notebook or an editor. */
export type VegaLiteSpec = Readonly<Record<string, unknown>>;

/** A colour for each series, in order. */
export const SERIES_COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9"] as const;

/** Every text is as long as it is: Vega's limits in pixels, lifted. */
const WHOLE = { labelLimit: 0, titleLimit: 0 };
const INK = { labelColor: "currentColor", titleColor: "currentColor" };

const CONFIG = {
  background: null,
  font: "system-ui, sans-serif",
  view: { stroke: null },
  axis: {
    ...WHOLE,
    ...INK,
    domainColor: "currentColor",
    tickColor: "currentColor",
    gridColor: "currentColor",
    gridOpacity: 0.15,
    titleFontWeight: "normal",
  },
  legend: { ...WHOLE, ...INK, symbolLimit: 0, symbolOpacity: 1, titleFontWeight: "normal" },
  header: { ...WHOLE, ...INK, titleFontWeight: "normal" },
  title: { color: "currentColor", anchor: "start", limit: 0, fontSize: 14 },
  text: { color: "currentColor" },
  range: { category: SERIES_COLOURS },
};

/** Letters of a title in a line, at the least. */
const LEAST_LINE = 44;
/** Pixels that a letter of a title takes. */
const TITLE_LETTER = 7.5;

/** A title in lines that are no wider than what stands below. */
export function titleLines(title: string, width: number): string[] {
  const most = Math.max(LEAST_LINE, Math.floor(width / TITLE_LETTER));
  const lines: string[] = [];
  for (const word of title.split(/\s+/)) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= most) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** A whole specification. `width`: about how wide it will be, in pixels. */
export function specOf(title: string, width: number, body: VegaLiteSpec): VegaLiteSpec {
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v6.json",
    ...(title === "" ? {} : { title: { text: titleLines(title, width) } }),
    ...body,
    config: CONFIG,
  };
}

/** An expression of Vega's for a number in a text, as people read it; the text of one that is none is in the field `shown`. */
export const numberText = (field: string) => `isValid(datum.${field}) ? format(datum.${field}, '.6~g') : datum.shown`;
