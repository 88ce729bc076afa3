/**
 * The tokenizer in a GGUF file as the files of Hugging Face: `tokenizer.json`, `tokenizer_config.json` and
 * `generation_config.json`. Two kinds are read: byte-level BPE ("gpt2"), whose way to cut a text into words is a name
 * (`tokenizer.ggml.pre`), and SentencePiece's BPE ("llama"), which has scores in place of merges.
 */
import { ConfigError } from "../../errors.ts";
import { readJsonFile } from "../json-file.ts";
import type { CheckpointSource } from "../source.ts";
import type { GgufValue } from "./header.ts";
import type { GgufFacts } from "./settings.ts";
import { mergesByScore } from "./spm-merges.ts";

type Facts = Pick<GgufFacts, "label" | "metadata">;

/** `tokenizer.ggml.token_type`, llama.cpp's `llama_token_type`. */
const NORMAL = 1;
const UNKNOWN = 2;
const CONTROL = 3;
const USER_DEFINED = 4;

/** How a text is cut into words before BPE, and what else comes with a name of `tokenizer.ggml.pre`. */
interface WordCut {
  /** A pattern whose matches are words, or null for GPT-2's own. */
  pattern: string | null;
  /** Each digit is a word. */
  digits?: true;
  /** A word that is a token is not cut into merges. */
  ignoreMerges?: true;
  /** Whether BOS is added where the file does not say. */
  addsBos?: true;
  normalizer?: string;
}

const CASELESS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const AFTER_NUMBERS = " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const LLAMA3 = `${CASELESS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|${AFTER_NUMBERS}`;
/** OpenAI's o200k: words begin with capitals, and go on in small letters. */
const [HIGH, LOW] = ["[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]", "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"];
const O200K = [
  `[^\\r\\n\\p{L}\\p{N}]?${HIGH}*${LOW}+${CASELESS}?`,
  `[^\\r\\n\\p{L}\\p{N}]?${HIGH}+${LOW}*${CASELESS}?`,
  `\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
].join("|");
const QWEN2 = `${CASELESS}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|${AFTER_NUMBERS}`;

/** By `tokenizer.ggml.pre`, as the models' own `tokenizer.json` and llama.cpp's `llama-vocab.cpp` have it. */
const WORD_CUTS: ReadonlyMap<string, WordCut> = new Map<string, WordCut>([
  ["gpt-2", { pattern: null }],
  ["phi-2", { pattern: null }],
  ["olmo", { pattern: null }],
  ["llama-bpe", { pattern: LLAMA3, ignoreMerges: true, addsBos: true }],
  ["dbrx", { pattern: LLAMA3 }],
  ["qwen2", { pattern: QWEN2, normalizer: "NFC" }],
  ["deepseek-r1-qwen", { pattern: QWEN2, normalizer: "NFC" }],
  ["gpt-4o", { pattern: O200K }],
  ["smollm", { pattern: null, digits: true }],
  ["starcoder", { pattern: null, digits: true }],
]);

/**
 * One of the files, or undefined. Where the kind of tokenizer is not known, the files that lie beside the model are taken.
 * @throws ConfigError `tokenizer/unsupported`, `tokenizer/broken`
 */
export async function ggufTokenizer(facts: Facts, file: string, beside: CheckpointSource): Promise<unknown> {
  const make = FILES[file];
  if (!make) return undefined;
  if (file !== "generation_config.json" && refusal(facts) !== undefined) {
    if (await beside.exists("tokenizer.json"))
      return (await beside.exists(file)) ? readJsonFile(beside, file) : undefined;
  }
  return make(facts);
}

const FILES: Readonly<Record<string, (facts: Facts) => unknown>> = {
  "tokenizer.json": tokenizerJson,
  "tokenizer_config.json": tokenizerConfig,
  "generation_config.json": generationConfig,
};

/** Why the file's tokenizer cannot be followed exactly. */
function refusal({ metadata }: Facts): string | undefined {
  const model = metadata.get("tokenizer.ggml.model");
  const pre = metadata.get("tokenizer.ggml.pre");
  if (model === "llama") {
    if (metadata.get("tokenizer.ggml.remove_extra_whitespaces") !== true) return undefined;
    return "tokenizer.ggml.remove_extra_whitespaces true";
  }
  if (model !== "gpt2") return `tokenizer.ggml.model ${JSON.stringify(model)} (read: gpt2, llama)`;
  if (typeof pre === "string" && WORD_CUTS.has(pre)) return undefined;
  const known = [...WORD_CUTS.keys()].join(", ");
  return pre === undefined ? `a file without tokenizer.ggml.pre` : `tokenizer.ggml.pre ${String(pre)} (read: ${known})`;
}

function tokenizerJson(facts: Facts): unknown {
  if (!facts.metadata.has("tokenizer.ggml.model") || facts.metadata.get("tokenizer.ggml.model") === "no_vocab")
    return undefined;
  const why = refusal(facts);
  if (why !== undefined) {
    const message = `${facts.label}: ${why} cannot be followed exactly. Put the model's own tokenizer.json beside the file, or give token ids instead of text.`;
    throw new ConfigError("tokenizer/unsupported", message);
  }
  const tokens = new Tokens(facts);
  return facts.metadata.get("tokenizer.ggml.model") === "llama" ? sentencePiece(tokens) : byteLevel(tokens);
}

/** The vocabulary, and the metadata beside it. */
class Tokens {
  readonly texts: readonly string[];
  readonly #types: readonly GgufValue[];

  constructor(private readonly facts: Facts) {
    this.texts = this.list("tokens", "string") as string[];
    this.#types = this.value("token_type") === undefined ? [] : this.list("token_type", "number");
  }

  value(key: string): GgufValue | undefined {
    return this.facts.metadata.get(`tokenizer.ggml.${key}`);
  }

  /** A list with an entry for each token. */
  list(key: string, type: "string" | "number", isPerToken = true): GgufValue[] {
    const list = this.value(key);
    const length = this.texts?.length;
    const isList = Array.isArray(list) && list.every((each) => typeof each === type);
    if (isList && (!isPerToken || length === undefined || list.length === length)) return list;
    const message = `${this.facts.label}: tokenizer.ggml.${key} is no list of a ${type} for each token. Download the file again, or give token ids instead of text.`;
    throw new ConfigError("tokenizer/broken", message);
  }

  flag(key: string, absent: boolean): boolean {
    const value = this.value(key);
    return typeof value === "boolean" ? value : absent;
  }

  typeOf(id: number): number {
    return (this.#types[id] as number | undefined) ?? NORMAL;
  }

  get cut(): WordCut {
    return WORD_CUTS.get(String(this.value("pre"))) ?? { pattern: null };
  }

  /** Text to id. Of two tokens with one text the first counts. */
  vocabulary(): Record<string, number> {
    const entries = this.texts.map((text, id): [string, number] => [text, id]);
    return Object.fromEntries(entries.reverse());
  }

  /** `added_tokens`: those that are found in a text as they are. */
  added(): unknown[] {
    const fixed = { single_word: false, lstrip: false, rstrip: false, normalized: false };
    return this.texts.flatMap((content, id) => {
      const type = this.typeOf(id);
      return type === CONTROL || type === USER_DEFINED ? [{ id, content, special: type === CONTROL, ...fixed }] : [];
    });
  }

  /** The text of `bos`, `eos` and so on. */
  special(name: string): string | undefined {
    const id = this.value(`${name}_token_id`);
    return typeof id === "number" ? this.texts[id] : undefined;
  }

  /** `post_processor`, or null where nothing is added. */
  frame(addsBos: boolean): unknown {
    const bos = this.flag("add_bos_token", addsBos) ? this.special("bos") : undefined;
    const eos = this.flag("add_eos_token", false) ? this.special("eos") : undefined;
    if (bos === undefined && eos === undefined) return null;
    const around = (sequence: "A" | "B") => {
      const typeId = sequence === "A" ? 0 : 1;
      const token = (text?: string) => (text === undefined ? [] : [{ SpecialToken: { id: text, type_id: typeId } }]);
      return [...token(bos), { Sequence: { id: sequence, type_id: typeId } }, ...token(eos)];
    };
    const entry = (text: string | undefined, name: string) =>
      text === undefined ? [] : [[text, { id: text, ids: [this.value(`${name}_token_id`)], tokens: [text] }]];
    return {
      type: "TemplateProcessing",
      single: around("A"),
      pair: [...around("A"), ...around("B")],
      special_tokens: Object.fromEntries([...entry(bos, "bos"), ...entry(eos, "eos")]),
    };
  }
}

function byteLevel(tokens: Tokens): unknown {
  const { pattern, digits, ignoreMerges, addsBos, normalizer } = tokens.cut;
  const bytes = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true };
  const split = { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false };
  const before = [
    ...(digits ? [{ type: "Digits", individual_digits: true }] : []),
    ...(pattern === null ? [] : [split]),
  ];
  return {
    version: "1.0",
    added_tokens: tokens.added(),
    normalizer: normalizer ? { type: normalizer } : null,
    pre_tokenizer: { type: "Sequence", pretokenizers: [...before, { ...bytes, use_regex: pattern === null }] },
    post_processor: tokens.frame(addsBos ?? false),
    decoder: { ...bytes, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: ignoreMerges ?? false,
      vocab: tokens.vocabulary(),
      merges: tokens.list("merges", "string", false),
    },
  };
}

function sentencePiece(tokens: Tokens): unknown {
  const scores = tokens.list("scores", "number") as number[];
  const hasPrefix = tokens.flag("add_space_prefix", true);
  const unknown = tokens.texts.find((_, id) => tokens.typeOf(id) === UNKNOWN);
  const space = { type: "Replace", pattern: { String: " " }, content: "▁" };
  const normalizers = [...(hasPrefix ? [{ type: "Prepend", prepend: "▁" }] : []), space];
  const strip = hasPrefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : [];
  const normal = tokens.texts.map((text, id) => (tokens.typeOf(id) === NORMAL ? text : undefined));
  return {
    version: "1.0",
    added_tokens: tokens.added(),
    normalizer: { type: "Sequence", normalizers },
    pre_tokenizer: null,
    post_processor: tokens.frame(true),
    decoder: {
      type: "Sequence",
      decoders: [
        { type: "Replace", pattern: { String: "▁" }, content: " " },
        { type: "ByteFallback" },
        { type: "Fuse" },
        ...strip,
      ],
    },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: unknown ?? null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: tokens.vocabulary(),
      merges: mergesByScore(normal, scores),
    },
  };
}

/** The names of special tokens, and the chat templates: `tokenizer.chat_template`, and those with a name after it. */
function tokenizerConfig(facts: Facts): unknown {
  const { metadata } = facts;
  if (!metadata.has("tokenizer.ggml.tokens")) return undefined;
  const tokens = new Tokens(facts);
  const config: Record<string, unknown> = {};
  const names = { bos: "bos", eos: "eos", unknown: "unk", padding: "pad", seperator: "sep", cls: "cls", mask: "mask" };
  for (const [name, short] of Object.entries(names)) {
    const text = tokens.special(name);
    if (text !== undefined) config[`${short}_token`] = text;
  }
  const template = metadata.get("tokenizer.chat_template");
  const named = [...metadata].flatMap(([key, value]) =>
    key.startsWith("tokenizer.chat_template.")
      ? [{ name: key.slice("tokenizer.chat_template.".length), template: value }]
      : [],
  );
  if (named.length > 0 && template !== undefined) named.unshift({ name: "default", template });
  if (named.length > 0) config.chat_template = named;
  else if (template !== undefined) config.chat_template = template;
  return config;
}

/** The tokens that end a text or a turn. */
function generationConfig({ metadata }: Facts): unknown {
  const ids = ["eos", "eot", "eom"].map((name) => metadata.get(`tokenizer.ggml.${name}_token_id`));
  const known = [...new Set(ids.filter((id) => id !== undefined))];
  return known.length > 0 ? { eos_token_id: known } : undefined;
}
