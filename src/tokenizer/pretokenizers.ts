/**
 * Pre-tokenizers cut a normalized text into words, which the model then tokenizes one by one. Meaning of each and of its
 * settings: https://github.com/huggingface/tokenizers/tree/main/tokenizers/src/pre_tokenizers
 */
import { spellBytes } from "./bytes.ts";
import { broken, type Makers, make, type Part } from "./parts.ts";
import {
  BEHAVIORS,
  type Behavior,
  cut,
  inverted,
  type Pattern,
  patternOfRegex,
  patternOfText,
  patternSetting,
} from "./patterns.ts";
import { PUNCTUATION, SPACE, WORD_CHARACTERS } from "./unicode.ts";

/** A piece of the text. `isFirst`: it begins where the whole text begins. */
export interface Piece {
  text: string;
  isFirst: boolean;
}

export type PreTokenizer = (pieces: Piece[]) => Piece[];

const GPT2_WORDS =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;
const WORDS = new RegExp(`[${WORD_CHARACTERS}]+|[^\\p{White_Space}${WORD_CHARACTERS}]+`, "gu");

const PRE_TOKENIZERS: Makers<PreTokenizer> = {
  Sequence: (part) => {
    const steps = part.list("pretokenizers").map(preTokenizerOf);
    return (pieces) => steps.reduce((current, step) => step(current), pieces);
  },
  BertPreTokenizer: () => {
    const words = splitBy(patternOfRegex(SPACE), "Removed");
    const punctuation = splitBy(patternOfRegex(PUNCTUATION), "Isolated");
    return (pieces) => punctuation(words(pieces));
  },
  ByteLevel: byteLevel,
  CharDelimiterSplit: (part) => splitBy(patternOfText(part.character("delimiter")), "Removed"),
  Digits: (part) => splitBy(patternOfRegex(/\p{N}/gu), part.boolean("individual_digits") ? "Isolated" : "Contiguous"),
  FixedLength: fixedLength,
  Metaspace: metaspace,
  Punctuation: (part) => splitBy(patternOfRegex(PUNCTUATION), part.oneOf("behavior", BEHAVIORS, "Isolated")),
  Split: (part) => {
    const pattern = patternSetting(part);
    return splitBy(part.boolean("invert") ? inverted(pattern) : pattern, part.oneOf("behavior", BEHAVIORS));
  },
  Whitespace: () => splitBy(inverted(patternOfRegex(WORDS)), "Removed"),
  WhitespaceSplit: () => splitBy(patternOfRegex(SPACE), "Removed"),
};

/** Makes a pre-tokenizer of its description in `tokenizer.json`. */
export function preTokenizerOf(config: unknown): PreTokenizer {
  return make("pre_tokenizer", PRE_TOKENIZERS, config);
}

/** Cuts each piece; empty ones are dropped. */
function splitBy(pattern: Pattern, behavior: Behavior): PreTokenizer {
  const split = (piece: Piece) =>
    cut(pattern, behavior, piece.text)
      .filter(({ start, end }) => end > start)
      .map(({ start, end }) => ({ text: piece.text.slice(start, end), isFirst: piece.isFirst && start === 0 }));
  return (pieces) => pieces.flatMap(split);
}

function byteLevel(part: Part): PreTokenizer {
  const addsSpace = part.boolean("add_prefix_space");
  part.boolean("trim_offsets");
  const split = part.boolean("use_regex", true) ? splitBy(patternOfRegex(GPT2_WORDS), "Isolated") : undefined;
  return (pieces) => {
    const spaced = addsSpace ? pieces.map((piece) => withPrefix(piece, " ")) : pieces;
    return (split?.(spaced) ?? spaced).map((piece) => ({ ...piece, text: spellBytes(piece.text) }));
  };
}

function withPrefix(piece: Piece, prefix: string): Piece {
  return piece.text.startsWith(prefix) ? piece : { ...piece, text: prefix + piece.text };
}

/** Pieces of `length` characters; the last one may be shorter. */
function fixedLength(part: Part): PreTokenizer {
  const length = part.config.length === undefined ? 5 : part.count("length");
  if (length === 0) throw part.wrong("length", "at least 1");
  return splitBy(patternOfRegex(new RegExp(`[^]{1,${length}}`, "gu")), "Isolated");
}

/** Spaces become `replacement`; by `prepend_scheme` a text gets one in front; with `split` each begins a new word. */
function metaspace(part: Part): PreTokenizer {
  const replacement = part.character("replacement");
  const scheme = prependScheme(part);
  const split = part.boolean("split", true) ? splitBy(patternOfText(replacement), "MergedWithNext") : undefined;
  return (pieces) => {
    const marked = pieces.map((piece) => {
      const spelled = { ...piece, text: piece.text.replaceAll(" ", replacement) };
      return scheme === "always" || (scheme === "first" && piece.isFirst) ? withPrefix(spelled, replacement) : spelled;
    });
    return split?.(marked) ?? marked;
  };
}

/** `prepend_scheme` of a Metaspace pre-tokenizer or decoder. */
export function prependScheme(part: Part): "always" | "never" | "first" {
  const scheme = part.oneOf("prepend_scheme", ["always", "never", "first"], "always");
  if (part.config.add_prefix_space === false && scheme !== "never") {
    throw broken(`${part.role} Metaspace says add_prefix_space false and prepend_scheme ${scheme}`);
  }
  return scheme;
}
