/**
 * SVG as text, without a DOM, so that the same plots come out on Node, Deno and in a page. Libraries were weighed: Plot needs a
 * DOM, vega and echarts are a megabyte each, and none of them has a ternary plot; what figures need is a few hundred lines.
 *
 * Colours are Okabe and Ito's, which people who do not see red or green can tell apart; series differ in shape too. Text, axes
 * and ground follow the reader's light or dark theme.
 */

/** A point in the drawing, in pixels from the upper left corner. */
export type Place = readonly [x: number, y: number];

/** A colour for each series, in order. */
const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9"];

export const colourOf = (series: number): string => COLOURS[series % COLOURS.length] as string;

const STYLE = `.sl-plot{font:12px system-ui,sans-serif;background:#fff;color:#1a1a1a}.sl-plot text{fill:currentColor}.sl-plot .title{font-weight:600;font-size:14px}.sl-plot .axis{stroke:currentColor;fill:none;opacity:.7}.sl-plot .grid{stroke:currentColor;opacity:.15}.sl-plot .reference{stroke:currentColor;opacity:.5;stroke-dasharray:5 4;fill:none}.sl-plot .spread{stroke:currentColor;fill:none;opacity:.8}@media(prefers-color-scheme:dark){.sl-plot{background:#15181d;color:#e6e6e6}}`;

export function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

export const pixels = (value: number): string => value.toFixed(1);

export function text([x, y]: Place, words: string, attributes = ""): string {
  return `<text x="${pixels(x)}" y="${pixels(y)}" ${attributes}>${escaped(words)}</text>`;
}

/** A whole drawing; its title is what a screen reader says. */
export function drawing(width: number, height: number, title: string, parts: readonly string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" class="sl-plot" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${escaped(title)}">`,
    `<style>${STYLE}</style>`,
    text([12, 22], title, 'class="title"'),
    ...parts,
    "</svg>",
    "",
  ].join("\n");
}

/** A mark of a series: circle, square, triangle, diamond, in turn. */
export function mark([x, y]: Place, series: number, radius: number, opacity = 1): string {
  const style = `fill="${colourOf(series)}" fill-opacity="${opacity}"`;
  if (series % 4 === 0) return `<circle cx="${pixels(x)}" cy="${pixels(y)}" r="${radius}" ${style}/>`;
  const r = radius * 1.2;
  const corners: Place[][] = [
    [],
    [
      [-1, -1],
      [1, -1],
      [1, 1],
      [-1, 1],
    ],
    [
      [0, -1.2],
      [1.1, 0.9],
      [-1.1, 0.9],
    ],
    [
      [0, -1.3],
      [1.3, 0],
      [0, 1.3],
      [-1.3, 0],
    ],
  ];
  const points = (corners[series % 4] as Place[]).map(([dx, dy]) => `${pixels(x + dx * r)},${pixels(y + dy * r)}`);
  return `<polygon points="${points.join(" ")}" ${style}/>`;
}

/** Names of series beside their marks, below each other. */
export function legend(names: readonly string[], [x, y]: Place): string[] {
  return names.flatMap((name, series) => [
    mark([x, y + 18 * series], series, 4),
    text([x + 12, y + 4 + 18 * series], name),
  ]);
}
