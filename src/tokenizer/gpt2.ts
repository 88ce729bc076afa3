/**
 * GPT-2's byte-level BPE, for checkpoints of that vocabulary that come without a `tokenizer.json`. Vocabulary and merge
 * loop are gpt-tokenizer's (`r50k_base`, 0.6 MB of source, loaded only when this tokenizer is). Three things are our own:
 * the split pattern, because JavaScript's `\s` differs from Unicode's White_Space on U+0085 and U+FEFF; finding
 * `<|endoftext|>`, which gpt-tokenizer 4 only sees at the start of a text; and decoding, because its decoder is shared
 * by all calls and keeps the bytes of an unfinished character for the next one.
 */
import { ConfigError } from "../errors.ts";
import { showBytes, spellBytes } from "./bytes.ts";
import { checkId, onlyToken, withBos } from "./ids.ts";
import type { JsonObject } from "./parts.ts";
import { streamOf } from "./stream.ts";
import type { TextTokenizer } from "./types.ts";

/** GPT-2 has one special token; it serves as BOS and as EOS. */
export const END_OF_TEXT = "<|endoftext|>";
export const END_OF_TEXT_ID = 50256;

/** What it is to a chat template, where the checkpoint names no special tokens. */
export const GPT2_SPECIAL_TOKENS = { bos_token: END_OF_TEXT, eos_token: END_OF_TEXT, unk_token: END_OF_TEXT };

/** Ids in GPT-2's vocabulary: 50,000 merges, 256 bytes and `<|endoftext|>`. */
export const GPT2_VOCAB_SIZE = 50257;

/** Model types whose checkpoints use GPT-2's vocabulary unchanged. */
const GPT2_VOCABULARY_MODELS: ReadonlySet<string> = new Set(["gpt2", "gpt_neo", "gptj"]);

/** Whether a model without files of a tokenizer has GPT-2's. */
export const usesGpt2Vocabulary = (modelType: string, vocabSize: number): boolean =>
  GPT2_VOCABULARY_MODELS.has(modelType) && vocabSize >= GPT2_VOCAB_SIZE;

/** GPT-2's pattern (https://github.com/openai/gpt-2/blob/master/src/encoder.py) with `\s` as Unicode means it. */
const SPLIT_PATTERN =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

/**
 * Loads GPT-2's tokenizer. Like Hugging Face's it adds no BOS; `addBos: true` puts `<|endoftext|>` in front.
 * @param modelVocabSize rows of the model's embedding; ids up to there decode, to nothing beyond 50,256
 * @param vocabulary `vocab.json` and `added_tokens.json` of the checkpoint, if it has them: tokens and their ids
 * @param eosIds tokens that end a generation; default `<|endoftext|>`
 */
export async function loadGpt2Tokenizer(
  modelVocabSize: number,
  vocabulary: JsonObject,
  eosIds: number[] = [END_OF_TEXT_ID],
): Promise<TextTokenizer> {
  const [{ BytePairEncodingCore }, { default: ranks }] = await Promise.all([
    import("gpt-tokenizer/BytePairEncodingCore"),
    import("gpt-tokenizer/bpeRanks/r50k_base"),
  ]);
  const merger = new BytePairEncodingCore({
    bytePairRankDecoder: ranks,
    specialTokensEncoder: new Map([[END_OF_TEXT, END_OF_TEXT_ID]]),
    tokenSplitRegex: SPLIT_PATTERN,
  });
  const limit = Math.max(modelVocabSize, GPT2_VOCAB_SIZE);
  const bytesOf = byteTable(ranks);
  checkVocabulary(vocabulary, bytesOf);

  const decode: TextTokenizer["decode"] = (ids, options) => {
    for (const id of ids) checkId(id, limit);
    const kept = options?.skipSpecial ? ids.filter((id) => id !== END_OF_TEXT_ID) : ids;
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(concatenate(kept.map(bytesOf)));
  };
  const encode = (text: string) => encodeAround(text, (part) => merger.encodeNative(part));
  const tokenText = (id: number) => {
    checkId(id, limit);
    return id < GPT2_VOCAB_SIZE ? showBytes(bytesOf(id)) : `<id ${id}>`;
  };
  return {
    kind: "gpt2",
    vocabSize: GPT2_VOCAB_SIZE,
    bosId: END_OF_TEXT_ID,
    addsBos: false,
    eosIds,
    decode,
    encode: (text, options) => withBos(encode(text), options?.addBos ?? false, [END_OF_TEXT_ID]),
    singleToken: (text) => onlyToken(text, encode(text), tokenText),
    tokenText,
    stream: (options) => streamOf((ids) => decode(ids, options)),
  };
}

/** @throws ConfigError `tokenizer/unsupported` when the checkpoint's own files have another vocabulary. */
function checkVocabulary(vocabulary: JsonObject, bytesOf: (id: number) => Uint8Array): void {
  const other = Object.entries(vocabulary).find(
    ([token, id]) => !(typeof id === "number" && id < GPT2_VOCAB_SIZE && spellBytes(bytesOf(id)) === token),
  );
  if (!other) return;
  throw new ConfigError(
    "tokenizer/unsupported",
    `vocab.json or added_tokens.json has ${JSON.stringify(other[0])} as ${other[1]}, which is not GPT-2's vocabulary, and there is no tokenizer.json. Make one with transformers (AutoTokenizer.from_pretrained(folder).save_pretrained(folder)), or give token ids instead of text.`,
  );
}

/** Encodes what stands between the `<|endoftext|>`s, and puts their id in between. */
function encodeAround(text: string, encodePart: (part: string) => number[]): number[] {
  return text.split(END_OF_TEXT).flatMap((part, i) => {
    const ids = part === "" ? [] : encodePart(part);
    return i === 0 ? ids : [END_OF_TEXT_ID, ...ids];
  });
}

/** The bytes of each id but the last. */
export async function gpt2Bytes(): Promise<(id: number) => Uint8Array> {
  const { default: ranks } = await import("gpt-tokenizer/bpeRanks/r50k_base");
  return byteTable(ranks);
}

/** Bytes of each id. gpt-tokenizer stores whole characters as strings and everything else as byte lists. */
function byteTable(ranks: readonly (string | readonly number[])[]): (id: number) => Uint8Array {
  const utf8 = new TextEncoder();
  return (id) => {
    const entry = id === END_OF_TEXT_ID ? END_OF_TEXT : (ranks[id] ?? "");
    return typeof entry === "string" ? utf8.encode(entry) : Uint8Array.from(entry);
  };
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}
