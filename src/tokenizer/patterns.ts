/**
 * Patterns of `tokenizer.json`: what they match, and how a text is cut around the matches. The Rust library runs
 * regular expressions with Oniguruma; `oniguruma-to-es` turns them into JavaScript's.
 */
import { toRegExpDetails } from "oniguruma-to-es";
import { isObject, type Part, unsupported } from "./parts.ts";

/** A stretch of a text, in UTF-16 units, that matches or lies between matches. */
export interface Span {
  start: number;
  end: number;
  isMatch: boolean;
}

/** Cuts a text into spans that cover it. */
export type Pattern = (text: string) => Span[];

/** What becomes of a match. */
export const BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"] as const;
export type Behavior = (typeof BEHAVIORS)[number];

/** The pattern of a regex, which must have the flag g. */
export function patternOfRegex(regex: RegExp): Pattern {
  return (text) => {
    const spans: Span[] = [];
    let end = 0;
    for (const match of matchesOf(regex, text)) {
      if (match.start > end) spans.push({ start: end, end: match.start, isMatch: false });
      spans.push(match);
      end = match.end;
    }
    if (end < text.length) spans.push({ start: end, end: text.length, isMatch: false });
    return spans;
  };
}

/** All matches. Unlike JavaScript's own search, none is empty where the one before it ended. */
function* matchesOf(regex: RegExp, text: string): Generator<Span> {
  if (text === "") return;
  let lastEnd = -1;
  let from = 0;
  while (from <= text.length) {
    regex.lastIndex = from;
    const match = regex.exec(text);
    if (!match) return;
    const [start, end] = [match.index, match.index + match[0].length];
    if (start === end && end === lastEnd) {
      from += (text.codePointAt(from) ?? 0) > 0xffff ? 2 : 1;
    } else {
      yield { start, end, isMatch: true };
      lastEnd = end;
      from = end;
    }
  }
}

/** The pattern of a literal text. */
export function patternOfText(text: string): Pattern {
  return patternOfRegex(new RegExp(text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&"), "gu"));
}

/** The `pattern` setting of a part: `{ "String": ... }` or `{ "Regex": ... }`. */
export function patternSetting(part: Part): Pattern {
  const { pattern } = part.config;
  if (isObject(pattern) && typeof pattern.String === "string") return patternOfText(pattern.String);
  if (!isObject(pattern) || typeof pattern.Regex !== "string") throw part.wrong("pattern", "a String or a Regex");
  try {
    return patternOfRegex(translated(pattern.Regex));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw unsupported(
      `the regular expression ${JSON.stringify(pattern.Regex)} of ${part.role} ${part.type} (${reason})`,
    );
  }
}

/**
 * `\w` as `oniguruma-to-es` writes it, and as Oniguruma means it outside of a class, where ² ³ ¹ ¼ ½ ¾ are word characters.
 * Inside a class they are not: `[\w]` is `[[:word:]]`.
 */
const THEIR_WORD = "\\p{L}\\p{M}\\p{N}\\p{Pc}";
const WORD = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\u00b2\\u00b3\\u00b9\\u00bc-\\u00be";

function translated(source: string): RegExp {
  if (source.includes(THEIR_WORD) || /\\p\{\^?(word|alnum)\}/i.test(source))
    throw new Error("a class of word characters");
  const { pattern, flags, options } = toRegExpDetails(withPosixWords(source), { global: true, accuracy: "strict" });
  if (options?.strategy) throw new Error("a search that JavaScript does not know");
  return new RegExp(pattern.replaceAll(THEIR_WORD, WORD), flags);
}

/** The regular expression with `[:word:]` for each `\w` that stands in a class. */
function withPosixWords(source: string): string {
  let depth = 0;
  return source.replace(/\\.|\[|\]/gs, (part) => {
    if (part === "[") depth++;
    else if (part === "]") depth = Math.max(0, depth - 1);
    else if (depth > 0 && part === "\\w") return "[:word:]";
    else if (depth > 0 && part === "\\W") return "[:^word:]";
    return part;
  });
}

/** The spans with matches and rests changed about. */
export function inverted(pattern: Pattern): Pattern {
  return (text) => pattern(text).map((span) => ({ ...span, isMatch: !span.isMatch }));
}

/** Text with every match replaced. */
export function replaceMatches(pattern: Pattern, content: string): (text: string) => string {
  return (text) => {
    let result = "";
    for (const { start, end, isMatch } of pattern(text)) result += isMatch ? content : text.slice(start, end);
    return result;
  };
}

/** Whether a span is joined to its neighbour: the one before it, or, for `MergedWithNext`, the one after it. */
const JOINS: Record<Exclude<Behavior, "Removed" | "MergedWithNext">, (span: Span, before: boolean) => boolean> = {
  Isolated: () => false,
  Contiguous: (span, before) => span.isMatch === before,
  MergedWithPrevious: (span, before) => span.isMatch && !before,
};

/** Cuts a text around the matches of a pattern; gives what is kept. */
export function cut(pattern: Pattern, behavior: Behavior, text: string): { start: number; end: number }[] {
  const spans = pattern(text);
  if (behavior === "Removed") return spans.filter((span) => !span.isMatch);
  if (behavior === "MergedWithNext") return joined(spans.reverse(), JOINS.MergedWithPrevious).reverse();
  return joined(spans, JOINS[behavior]);
}

function joined(spans: Span[], joins: (span: Span, before: boolean) => boolean): { start: number; end: number }[] {
  const result: { start: number; end: number }[] = [];
  let before = false;
  for (const span of spans) {
    const last = result.at(-1);
    if (last && joins(span, before)) {
      last.start = Math.min(last.start, span.start);
      last.end = Math.max(last.end, span.end);
    } else result.push({ start: span.start, end: span.end });
    before = span.isMatch;
  }
  return result;
}
