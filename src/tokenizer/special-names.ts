/**
 * Besides `tokenizer.json`, two files of a checkpoint name special tokens: `tokenizer_config.json` and the older
 * `special_tokens_map.json`. Hugging Face's `transformers` adds those that `tokenizer.json` does not list.
 */
import { type AddedToken, addedTokenOf } from "./added-tokens.ts";
import { isObject, type JsonObject, unsupported } from "./parts.ts";
import type { Vocabulary } from "./vocabulary.ts";

/** The parsed files of a checkpoint that say something about its tokenizer; absent ones are empty objects. */
export interface TokenizerFiles extends NamingFiles {
  /** `tokenizer.json` */
  tokenizer: unknown;
}

/** Those that name special tokens. */
export interface NamingFiles {
  /** `tokenizer_config.json` */
  config: JsonObject;
  /** `special_tokens_map.json` */
  specialTokens: JsonObject;
}

/** Settings that name one special token, and those that list several (by place or by name). */
export const SINGLE_NAMES = [
  "bos_token",
  "eos_token",
  "unk_token",
  "sep_token",
  "pad_token",
  "cls_token",
  "mask_token",
];
const LISTS = ["additional_special_tokens", "extra_special_tokens"];

/**
 * The added tokens of `tokenizer.json`, then those that only `tokenizer_config.json` lists, then named special tokens
 * that are plain entries of the vocabulary. Of two with the same text the first counts.
 */
export function allAddedTokens(files: TokenizerFiles, inFile: unknown[], vocabulary: Vocabulary): AddedToken[] {
  const listed = files.config.added_tokens_decoder;
  const named = [...SINGLE_NAMES, ...LISTS].flatMap((name) => namedTokens(files, name));
  const others = [
    ...Object.values(isObject(listed) ? listed : {}).map((token) => completed(token, false)),
    ...named.filter(({ content }) => vocabulary.idOf.has(content)),
  ];
  const tokens = inFile.map(addedTokenOf);
  const known = new Set(tokens.map(({ content }) => content));
  for (const token of others) {
    if (!known.has(token.content)) tokens.push(token);
    known.add(token.content);
  }
  return tokens;
}

/**
 * @throws ConfigError `tokenizer/unsupported` when `added_tokens_decoder` of `tokenizer_config.json` gives a token that
 *   `tokenizer.json` does not list another id than the one that it gets.
 */
export function checkListedIds(
  { config }: TokenizerFiles,
  inFile: unknown[],
  idOf: (token: string) => number | undefined,
): void {
  const known = new Set(inFile.map((token) => addedTokenOf(token).content));
  const listed = config.added_tokens_decoder;
  for (const [id, token] of Object.entries(isObject(listed) ? listed : {})) {
    const { content } = completed(token, false);
    if (content !== "" && !known.has(content) && idOf(content) !== Number(id)) {
      throw unsupported(
        `the id ${id} that tokenizer_config.json gives ${JSON.stringify(content)} (which gets ${idOf(content)})`,
      );
    }
  }
}

/** The text of a special token, such as `bos_token`. */
export function namedToken(files: NamingFiles, name: string): string | undefined {
  return namedTokens(files, name)[0]?.content;
}

/** The tokens of a setting: one or several, each a text or an object. */
function namedTokens({ config, specialTokens }: NamingFiles, name: string): AddedToken[] {
  const value = config[name] ?? specialTokens[name] ?? [];
  const isSeveral = isObject(value) && typeof value.content !== "string";
  const entries = isSeveral ? Object.values(value) : [value].flat();
  return entries
    .filter((entry) => typeof entry === "string" || (isObject(entry) && typeof entry.content === "string"))
    .map((entry) => completed(typeof entry === "string" ? { content: entry } : entry, true));
}

/** These files may leave settings out, with the defaults of Python's `AddedToken`. */
function completed(config: unknown, special: boolean): AddedToken {
  const given = isObject(config) ? config : {};
  const isSpecial = special || given.special === true;
  const defaults = { single_word: false, lstrip: false, rstrip: false, normalized: !isSpecial };
  return addedTokenOf({ ...defaults, ...given, special: isSpecial });
}
