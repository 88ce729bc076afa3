/**
 * Labels that can be read as they are. A token may be a line break, a space or half a character: such a label would be cut,
 * empty or no XML. So what cannot be seen is written out, and labels of one axis differ, since equal ones would be one place.
 */

const SHORT: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** Characters that show nothing: control and format characters, separators, halves of pairs, and what is no character. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu;
/** Spaces of other widths than the usual one. */
const OTHER_SPACES = /(?! )\p{Zs}/gu;
const OUTER_SPACES = /^ +| +$/g;

function escaped(character: string): string {
  const code = (character.codePointAt(0) as number).toString(16);
  return SHORT[character] ?? (code.length > 4 ? `\\u{${code}}` : `\\u${code.padStart(4, "0")}`);
}

/** A text with what cannot be seen written out: `\n`, `\u200b`, and `·` for a space at either end. */
export function visible(text: string): string {
  const spaces = (found: string) => "·".repeat(found.length);
  return text.replace(INVISIBLE, escaped).replace(OTHER_SPACES, escaped).replace(OUTER_SPACES, spaces);
}

/** Labels of one axis: visible, and with their numbers before them unless all differ. */
export function axisLabels(texts: readonly string[]): string[] {
  const shown = texts.map(visible);
  return new Set(shown).size === shown.length ? shown : shown.map((text, index) => `${index}:${text}`);
}

/** `0`, `1`, … after a letter or nothing. */
export const numbered = (count: number, before = ""): string[] =>
  Array.from({ length: count }, (_, index) => `${before}${index}`);

/** A text within markup. */
export function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
