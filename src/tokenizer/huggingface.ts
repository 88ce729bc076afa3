/**
 * A tokenizer from `tokenizer.json`: normalizer, pre-tokenizer, model, post-processor and decoder, as the file names them.
 * Ids and decoded text equal those of the Rust library `tokenizers` 0.23 reading the same file, and what is not known to be
 * equal is refused by name. The file's `truncation` and `padding` are for batches: a text is encoded whole, as
 * `transformers` does unless it is told otherwise.
 */
import { AddedTokens } from "./added-tokens.ts";
import { bytesOfPiece, showBytes } from "./bytes.ts";
import { decoderOf, isByteToken } from "./decoders.ts";
import { checkId, onlyToken, withBos } from "./ids.ts";
import { modelOf } from "./models.ts";
import { type Normalizer, normalizerOf } from "./normalizers.ts";
import { broken, isObject, type JsonObject, unsupported } from "./parts.ts";
import { type Frame, frameOf } from "./post-processors.ts";
import { type PreTokenizer, preTokenizerOf } from "./pretokenizers.ts";
import { allAddedTokens, checkListedIds, namedToken, type TokenizerFiles } from "./special-names.ts";
import { streamOf } from "./stream.ts";
import type { TextTokenizer } from "./types.ts";
import type { Model } from "./vocabulary.ts";

/**
 * Builds the tokenizer.
 * @param modelVocabSize rows of the model's embedding; ids up to there decode (to nothing beyond the tokenizer's own)
 * @param eosIds tokens that end a generation; default the tokenizer's EOS
 * @throws ConfigError `tokenizer/broken` or `tokenizer/unsupported`, naming `tokenizer.json`
 */
export function makeHuggingFaceTokenizer(
  files: TokenizerFiles,
  modelVocabSize: number,
  eosIds?: number[],
): TextTokenizer {
  const parts = readParts(files);
  const { frame, idOf, tokenOf, added, normalize } = parts;
  const named = (name: string) => {
    const token = namedToken(files, name);
    return token === undefined ? undefined : idOf(token);
  };
  const bosToken = named("bos_token");
  const namedBos = bosToken === undefined ? [] : [bosToken];
  // Where files contradict each other, the post-processor's tokens count, as in the Rust library.
  const beginning = frame.before.length > 0 ? frame.before : namedBos;
  const bosId = namedBos.find((id) => beginning.includes(id)) ?? beginning[0];
  const eosId = named("eos_token");
  const addsBos = frame.before.length > 0;
  const limit = Math.max(parts.vocabSize, modelVocabSize);
  const isByteLevel = hasDecoder(parts.json.decoder, "ByteLevel");
  const separatesWords = spacesBetween(parts.json.decoder);

  const decode: TextTokenizer["decode"] = (ids, options) => {
    for (const id of ids) checkId(id, limit);
    return parts.textOf(ids, options?.skipSpecial ?? false);
  };
  const tokenText = (id: number) => {
    checkId(id, limit);
    const content = added.contentOf(id);
    if (content !== undefined && (isByteLevel || added.isSpecial(content))) return content;
    const piece = content ?? tokenOf(id);
    if (piece === undefined) return `<id ${id}>`;
    const bytes = isByteLevel ? bytesOfPiece(piece) : undefined;
    return bytes ? showBytes(bytes) : textWithin(piece, parts.join);
  };
  const singleToken = (text: string) => {
    const wanted = normalize(text);
    const isSame = (shown: string) =>
      normalize(shown) === wanted || (separatesWords && normalize(shown.replace(/^ /, "")) === wanted);
    return onlyToken(text, parts.idsOf(text), tokenText, isSame);
  };
  return {
    kind: "huggingface",
    vocabSize: parts.vocabSize,
    ...(bosId !== undefined && { bosId }),
    addsBos,
    eosIds: eosIds ?? (eosId === undefined ? [] : [eosId]),
    decode,
    encode(text, options) {
      if (options?.addSpecialTokens === false) return parts.idsOf(text);
      const ids = withBos(parts.idsOf(text), options?.addBos ?? addsBos, beginning);
      return [...ids, ...frame.after];
    },
    singleToken,
    tokenText,
    stream: (options) => streamOf((ids) => decode(ids, options), parts.isOpen(options?.skipSpecial ?? false)),
  };
}

/** A token's text inside a sentence: decoders strip the first space, so the token is decoded after itself. */
function textWithin(piece: string, join: (tokens: string[]) => string): string {
  const text = join([piece, piece]).slice(join([piece]).length);
  return text.includes("\uFFFD") && !piece.includes("\uFFFD") ? piece : text;
}

/** What the file says, ready for use. */
interface Parts {
  json: JsonObject;
  frame: Frame;
  added: AddedTokens;
  normalize: Normalizer;
  vocabSize: number;
  idOf(token: string): number | undefined;
  tokenOf(id: number): string | undefined;
  /** Ids of a text, without those of the post-processor. */
  idsOf(text: string): number[];
  textOf(ids: readonly number[], skipSpecial: boolean): string;
  /** The decoder's text of tokens. */
  join(tokens: string[]): string;
  /** Whether a token leaves the text before it open: a run of byte tokens is decoded when it has ended. */
  isOpen(skipSpecial: boolean): (id: number) => boolean;
}

function readParts(files: TokenizerFiles): Parts {
  const json = files.tokenizer;
  if (!isObject(json) || !isObject(json.model)) {
    throw broken(
      `expected an object with a "model", found ${isObject(json) ? "no model in it" : JSON.stringify(json)}`,
    );
  }
  if (json.version !== undefined && json.version !== "1.0")
    throw unsupported(`version ${JSON.stringify(json.version)}`);
  const optional = <T>(role: string, read: (config: unknown) => T) => {
    const config = json[role] ?? undefined;
    return config === undefined ? undefined : read(config);
  };
  const normalize = optional("normalizer", normalizerOf) ?? ((text: string) => text);
  const words = optional("pre_tokenizer", preTokenizerOf) ?? ((pieces) => pieces);
  const decode = optional("decoder", decoderOf);
  const frame = optional("post_processor", frameOf) ?? { before: [], after: [] };
  const model = modelOf(json.model);
  const { vocabulary } = model;
  const listed = Array.isArray(json.added_tokens) ? json.added_tokens : [];
  const added = new AddedTokens(allAddedTokens(files, listed, vocabulary), vocabulary, normalize);
  refuseUnsureStart(json);

  const idOf = (token: string) => added.idOf(token) ?? vocabulary.idOf.get(token);
  const tokenOf = (id: number) => added.tokenOf(id) ?? vocabulary.tokenOf.get(id);
  checkListedIds(files, listed, idOf);
  const hasRuns = hasDecoder(json.decoder, "ByteFallback");
  const isShown = (token: string | undefined, skipSpecial: boolean): token is string =>
    token !== undefined && !(skipSpecial && added.isSpecial(token));
  const join = (tokens: string[]) => (decode ? decode(tokens).join("") : tokens.join(" "));
  return {
    json,
    frame,
    added,
    normalize,
    vocabSize: Math.max(added.largestId, ...frame.before, ...frame.after, largest(vocabulary.tokenOf.keys())) + 1,
    idOf,
    tokenOf,
    idsOf: encoder(added, words, model),
    textOf: (ids, skipSpecial) => join(ids.map(tokenOf).filter((token) => isShown(token, skipSpecial))),
    join,
    isOpen: (skipSpecial) => (id) => {
      const token = tokenOf(id);
      return hasRuns && (!isShown(token, skipSpecial) || isByteToken(token));
    },
  };
}

function encoder(added: AddedTokens, words: PreTokenizer, model: Model): (text: string) => number[] {
  return (text) => {
    const ids: number[] = [];
    for (const item of added.split(wellFormed(text))) {
      if (typeof item === "number") ids.push(item);
      else for (const word of words([item])) for (const id of model.tokenize(word.text)) ids.push(id);
    }
    return ids;
  };
}

/** Half a surrogate pair is not a character; encoded as UTF-8 it becomes U+FFFD. */
function wellFormed(text: string): string {
  return text.replace(/\p{Surrogate}/gu, "\uFFFD");
}

/**
 * `prepend_scheme: "first"` asks whether a word begins where the text as given begins. Only splits keep that simple: after a
 * part that rewrites the text, the Rust library goes by the characters of the text as given from which a word was made.
 */
function refuseUnsureStart(json: JsonObject): void {
  const words = JSON.stringify(json.pre_tokenizer ?? null);
  if (!words.includes('"prepend_scheme":"first"')) return;
  const isRewritten =
    (json.normalizer ?? null) !== null || words.includes('"ByteLevel"') || words.split('"Metaspace"').length > 2;
  if (isRewritten) {
    throw unsupported('pre_tokenizer Metaspace with prepend_scheme "first" beside parts that rewrite the text');
  }
}

/** Whether a decoder, or one of those in its sequence, is of a type. */
function hasDecoder(config: unknown, type: string): boolean {
  if (!isObject(config)) return false;
  const { decoders } = config;
  return config.type === type || (Array.isArray(decoders) && decoders.some((part) => hasDecoder(part, type)));
}

/** Whether the decoder puts spaces between words, so that a space before a token is not the token's own. */
function spacesBetween(decoder: unknown): boolean {
  return (decoder ?? null) === null || hasDecoder(decoder, "WordPiece") || hasDecoder(decoder, "BPEDecoder");
}

function largest(numbers: Iterable<number>): number {
  let result = -1;
  for (const number of numbers) if (number > result) result = number;
  return result;
}
