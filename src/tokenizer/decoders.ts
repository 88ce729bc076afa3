/**
 * Decoders turn the tokens of a text back into the text: a chain of steps from list of texts to list of texts, joined at
 * the end. Meaning of each: https://github.com/huggingface/tokenizers/tree/main/tokenizers/src/decoders
 */
import { bytesOfPiece } from "./bytes.ts";
import { type Makers, make, type Part } from "./parts.ts";
import { patternSetting, replaceMatches } from "./patterns.ts";
import { prependScheme } from "./pretokenizers.ts";

export type Decoder = (tokens: string[]) => string[];

const DECODERS: Makers<Decoder> = {
  Sequence: (part) => {
    const steps = part.list("decoders").map(decoderOf);
    return (tokens) => steps.reduce((current, step) => step(current), tokens);
  },
  BPEDecoder: (part) => {
    const suffix = part.string("suffix");
    return (tokens) => tokens.map((token, i) => token.replaceAll(suffix, i === tokens.length - 1 ? "" : " "));
  },
  ByteFallback: () => byteFallback,
  ByteLevel: () => byteLevel,
  CTC: ctc,
  Fuse: () => (tokens) => [tokens.join("")],
  Metaspace: (part) => {
    const replacement = part.character("replacement");
    const atStart = prependScheme(part) === "never" ? " " : "";
    return (tokens) => tokens.map((token, i) => token.replaceAll(replacement, i === 0 ? atStart : " "));
  },
  Replace: (part) => {
    const replace = replaceMatches(patternSetting(part), part.string("content"));
    return (tokens) => tokens.map(replace);
  },
  Strip: strip,
  WordPiece: wordPiece,
};

/** Makes a decoder of its description in `tokenizer.json`. */
export function decoderOf(config: unknown): Decoder {
  return make("decoder", DECODERS, config);
}

/** A token that stands for a byte outside the vocabulary, such as `<0xE2>`. */
const BYTE_TOKEN = /^<0x([0-9a-f]{2}|\+[0-9a-f])>$/i;

/** Whether a token stands for one byte, and so belongs to a run of such tokens. */
export function isByteToken(token: string): boolean {
  return BYTE_TOKEN.test(token);
}

/** A run of byte tokens becomes text, or, when it is not UTF-8, a U+FFFD for each byte. */
function byteFallback(tokens: string[]): string[] {
  const result: string[] = [];
  let run: number[] = [];
  const endRun = () => {
    if (run.length > 0) result.push(...textOfRun(Uint8Array.from(run)));
    run = [];
  };
  for (const token of tokens) {
    const byte = BYTE_TOKEN.exec(token)?.[1];
    if (byte !== undefined) run.push(Number.parseInt(byte, 16));
    else {
      endRun();
      result.push(token);
    }
  }
  endRun();
  return result;
}

const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function textOfRun(bytes: Uint8Array): string[] {
  try {
    return [strictUtf8.decode(bytes)];
  } catch {
    return Array.from(bytes, () => "\uFFFD");
  }
}

/** The bytes that the tokens spell, all at once; a token with other characters stands for its own bytes. */
function byteLevel(tokens: string[]): string[] {
  const utf8 = new TextEncoder();
  const parts = tokens.map((token) => bytesOfPiece(token) ?? utf8.encode(token));
  const bytes = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return [new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes)];
}

function ctc(part: Part): Decoder {
  const [pad, delimiter] = [part.string("pad_token"), part.string("word_delimiter_token")];
  const tidy = part.boolean("cleanup");
  return (tokens) =>
    tokens
      .filter((token, i) => token !== tokens[i - 1])
      .map((token) => token.replaceAll(pad, ""))
      .map((token) => (tidy ? cleanUp(token).replaceAll(delimiter, " ") : token))
      .filter((token) => token !== "");
}

/** Takes up to `start` and `stop` of a character off the ends of each token. */
function strip(part: Part): Decoder {
  const content = part.character("content");
  const [start, stop] = [part.count("start"), part.count("stop")];
  return (tokens) =>
    tokens.map((token) => {
      const characters = [...token];
      let first = 0;
      let last = characters.length;
      while (first < Math.min(start, characters.length) && characters[first] === content) first++;
      while (last > first && characters.length - last < stop && characters[last - 1] === content) last--;
      return characters.slice(first, last).join("");
    });
}

function wordPiece(part: Part): Decoder {
  const prefix = part.string("prefix");
  const tidy = part.boolean("cleanup") ? cleanUp : (text: string) => text;
  return (tokens) =>
    tokens.map((token, i) => {
      if (i === 0) return tidy(token);
      return tidy(token.startsWith(prefix) ? token.slice(prefix.length) : ` ${token}`);
    });
}

const CONTRACTIONS: readonly (readonly [string, string])[] = [
  [" .", "."],
  [" ?", "?"],
  [" !", "!"],
  [" ,", ","],
  [" ' ", "'"],
  [" n't", "n't"],
  [" 'm", "'m"],
  [" do not", " don't"],
  [" 's", "'s"],
  [" 've", "'ve"],
  [" 're", "'re"],
];

/** English punctuation without the space in front of it. */
function cleanUp(text: string): string {
  return CONTRACTIONS.reduce((current, [from, to]) => current.replaceAll(from, to), text);
}
