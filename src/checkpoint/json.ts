/**
 * JSON that means one thing. `JSON.parse` keeps the last of two equal keys and says nothing, so a file could show one
 * tensor to one reader and another to the next. This parser runs `JSON.parse` for the grammar and then walks the
 * (now known to be valid) text once more to find keys that occur twice in one object.
 */

/** A key that occurs twice in one object. */
export interface DuplicateKey {
  kind: "duplicate-key";
  key: string;
}

/** A text that is not JSON; `reason` is the engine's own words. */
export interface NotJson {
  kind: "not-json";
  reason: string;
}

/** From a text to its value; throws where the text is none. */
type Grammar = (text: string) => unknown;

/** What `parseJson` found. */
export type ParsedJson = { kind: "value"; value: unknown } | DuplicateKey | NotJson;

/**
 * Parses UTF-8 bytes (strictly: no byte order mark, no invalid sequence) as JSON without duplicate keys.
 * @param grammar what a text means: JSON, or with `parsePythonJson` what Python writes under that name
 */
export function parseJsonBytes(bytes: Uint8Array, grammar: Grammar = JSON.parse): ParsedJson {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return { kind: "not-json", reason: "the text is not valid UTF-8" };
  }
  return parseJson(text, grammar);
}

/** Parses JSON; a duplicate key in any object is reported instead of resolved. */
export function parseJson(text: string, grammar: Grammar = JSON.parse): ParsedJson {
  let value: unknown;
  try {
    value = grammar(text);
  } catch (error) {
    return { kind: "not-json", reason: error instanceof Error ? error.message : String(error) };
  }
  const key = findDuplicateKey(text);
  return key === undefined ? { kind: "value", value } : { kind: "duplicate-key", key };
}

/** A string, or one of the three words that Python's `json.dumps` writes for numbers that JSON does not have. */
const STRING_OR_WORD = /"[^"\\]*(?:\\.[^"\\]*)*"|(?<![\w.])-?Infinity(?![\w.])|NaN/g;

/** No file holds this string; it stands for NaN until the reviver sees it. A number too large for a double is infinite. */
const NAN = "\0NaN\0";
const WORDS: Readonly<Record<string, string>> = { Infinity: "1e999", "-Infinity": "-1e999", NaN: JSON.stringify(NAN) };

/**
 * Parses JSON, and `NaN`, `Infinity` and `-Infinity` as Python does, which writes them: into some `config.json`, say, for
 * a limit that is off. @throws SyntaxError
 */
export function parsePythonJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const plain = text.replace(STRING_OR_WORD, (token) => WORDS[token] ?? token);
    if (plain === text) throw error;
    return JSON.parse(plain, (_key, value) => (value === NAN ? Number.NaN : value));
  }
}

/** Whether a parsed value is an object, neither an array nor null. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Walks valid JSON from brace to brace and string to string; a string followed by a colon is a key. */
function findDuplicateKey(text: string): string | undefined {
  const open: Set<string>[] = [];
  const landmark = /[{}"]/g;
  for (let match = landmark.exec(text); match !== null; match = landmark.exec(text)) {
    if (match[0] === "{") open.push(new Set());
    else if (match[0] === "}") open.pop();
    else {
      const end = stringEnd(text, match.index);
      landmark.lastIndex = end;
      if (!isColonNext(text, end)) continue;
      const key = JSON.parse(text.slice(match.index, end)) as string;
      const keys = open.at(-1);
      if (keys?.has(key)) return key;
      keys?.add(key);
    }
  }
  return undefined;
}

/** Index after the closing quote of the string that opens at `start`: the next quote after no or evenly many backslashes. */
function stringEnd(text: string, start: number): number {
  let quote = start;
  let backslashes: number;
  do {
    quote = text.indexOf('"', quote + 1);
    backslashes = 0;
    while (text[quote - 1 - backslashes] === "\\") backslashes++;
  } while (backslashes % 2 === 1);
  return quote + 1;
}

function isColonNext(text: string, index: number): boolean {
  const next = /\S/g;
  next.lastIndex = index;
  return next.exec(text)?.[0] === ":";
}
