/**
 * From the SVG that Vega writes to ours: a tooltip at each mark that has a description, text and ground that follow the reader's light or
 * dark, a name, and ids that are its own, since a page may hold several drawings. What says nothing is left out, a fifth of the bytes.
 */
import { escapeXml } from "./labels.ts";

/** Marks without a description, such as numbers written over cells, are not in the way of those that have one. */
const STYLE =
  ".superlens{font-family:system-ui,sans-serif;color:#1a1a1a;background:#fff}.superlens [aria-hidden]{pointer-events:none}@media(prefers-color-scheme:dark){.superlens{color:#e6e6e6;background:#15181d}}";

/** A mark with its description: `<path aria-label="L0: 1" role="graphics-symbol" aria-roledescription="rect mark" d="…"/>`. */
const DESCRIBED =
  /<(path|text) aria-label="([^"]*)" role="graphics-symbol" aria-roledescription="[^"]*"([^>]*?)\/?>(?:([^<]*)<\/text>)?/g;

/** What SVG takes anyway, what the style says, and names of Vega's own parts. */
const IDLE = [
  / (?:font-family|class)="[^"]*"/g,
  / (?:(?:stroke-|fill-)?opacity="1"|stroke-width="1"|text-anchor="start"|pointer-events="none"|transform="translate\(0,0\)")/g,
  / role="graphics-object" aria-roledescription="[^"]*container"/g,
  /(?<=fill="#[0-9a-f]{6}") stroke-width="\d+"/g,
  // Frames without a colour.
  /<path aria-hidden="true" d="[^"]*"(?: display="none")?\/>/g,
];

/** Places, of which a hundredth of a pixel is enough. */
const PLACES = / (?:d|transform)="[^"]*"/g;
const hundredths = (places: string) =>
  places.replace(/\d+\.\d{3,}/g, (number) => String(Number(Number(number).toFixed(2))));

/** `prefix`: of its ids. */
export function finished(svg: string, title: string, prefix: string): string {
  const described = svg.replace(DESCRIBED, "<$1$3><title>$2</title>$4</$1>");
  const short = IDLE.reduce((text, idle) => text.replace(idle, ""), described).replace(PLACES, hundredths);
  const ids = [...short.matchAll(/<\w+ id="([^"]+)"/g)].map(([, id]) => id as string);
  const own = ids.reduce(
    (text, id, index) =>
      text.replace(` id="${id}"`, ` id="${prefix}-${index}"`).replaceAll(`"url(#${id})"`, `"url(#${prefix}-${index})"`),
    short,
  );
  const name = `class="superlens" role="graphics-document" aria-label="${escapeXml(title)}"`;
  return own.replace(/^<svg ([^>]*)>/, (_, size) => `<svg ${size} ${name}><style>${STYLE}</style>`);
}
