/**
 * Normalizers: what is done to a text before it is cut into words. Meaning of each and of its settings:
 * https://github.com/huggingface/tokenizers/tree/main/tokenizers/src/normalizers
 */
import { spellBytes } from "./bytes.ts";
import { type Makers, make, type Part } from "./parts.ts";
import { patternSetting, replaceMatches } from "./patterns.ts";
import { CONTROL, lowercase, MARK, NONSPACING_MARK, normalized, SPACE } from "./unicode.ts";

export type Normalizer = (text: string) => string;

const NORMALIZERS: Makers<Normalizer> = {
  Sequence: (part) => {
    const steps = part.list("normalizers").map(normalizerOf);
    return (text) => steps.reduce((current, step) => step(current), text);
  },
  BertNormalizer: bertNormalizer,
  ByteLevel: () => (text) => spellBytes(text),
  Lowercase: () => lowercase,
  NFC: () => (text) => normalized(text, "NFC"),
  NFD: () => (text) => normalized(text, "NFD"),
  NFKC: () => (text) => normalized(text, "NFKC"),
  NFKD: () => (text) => normalized(text, "NFKD"),
  Nmt: () => (text) => text.replace(NMT_REMOVED, "").replace(NMT_SPACES, " "),
  Prepend: (part) => {
    const prefix = part.string("prepend");
    return (text) => (text === "" ? text : prefix + text);
  },
  Replace: (part) => replaceMatches(patternSetting(part), part.string("content")),
  Strip: (part) => {
    const [left, right] = [part.boolean("strip_left"), part.boolean("strip_right")];
    return (text) => {
      const start = left ? text.replace(/^\p{White_Space}+/u, "") : text;
      return right ? start.replace(/\p{White_Space}+$/u, "") : start;
    };
  },
  StripAccents: () => (text) => text.replace(MARK, ""),
};

/** Makes a normalizer of its description in `tokenizer.json`. */
export function normalizerOf(config: unknown): Normalizer {
  return make("normalizer", NORMALIZERS, config);
}

/** Characters that SentencePiece's NMT rules drop, and those that they read as a space. */
const NMT_REMOVED = /(?![\0\t\n\f\r\x80-\x8e\x90-\x9e])\p{Cc}/gu;
const NMT_SPACES = /[\t\n\f\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]/g;

/** CJK ideographs as BERT sees them: https://github.com/google-research/bert/blob/master/tokenization.py */
const IDEOGRAPH =
  /[\u4e00-\u9fff\u3400-\u4dbf\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\uf900-\ufaff\u{2f800}-\u{2fa1f}]/gu;

function bertNormalizer(part: Part): Normalizer {
  const lower = part.boolean("lowercase");
  const steps: [boolean, Normalizer][] = [
    [part.boolean("clean_text"), (text) => text.replace(CONTROL, "").replace(SPACE, " ")],
    [part.boolean("handle_chinese_chars"), (text) => text.replace(IDEOGRAPH, " $& ")],
    [part.boolean("strip_accents", lower), (text) => normalized(text, "NFD").replace(NONSPACING_MARK, "")],
    [lower, lowercase],
  ];
  const wanted = steps.filter(([enabled]) => enabled).map(([, step]) => step);
  return (text) => wanted.reduce((current, step) => step(current), text);
}
