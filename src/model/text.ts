/**
 * Text to token ids and back, by TransformerLens's names. One text gives one list, a list of texts gives a list of lists.
 * `forward` makes the same ids of a text.
 */
import * as s from "../schema/schema.ts";
import {
  ENCODE_FIELDS,
  type EncodeInputOptions,
  isBatch,
  requireTokenizer,
  type TextModel,
  TOKEN_IDS,
  TOKEN_INPUT,
  type TokenInput,
  toIds,
} from "./input.ts";

export const ENCODE_OPTIONS = s.object<EncodeInputOptions>("the options of text", ENCODE_FIELDS);

/** Token ids, one sequence or a batch. */
export type IdsInput = s.NumberList | readonly s.NumberList[];

/** `One` for a single sequence, a list of them for a batch. */
export type PerSequence<Input, One> = Input extends string | s.NumberList ? One : One[];

const TEXTS = s.byForm<string | string[]>("text or a list of texts", (value) =>
  typeof value === "string" ? s.text : s.isListLike(value) ? s.list("texts", s.text) : undefined,
);

const IDS = s.byForm<number[] | number[][]>("token ids or a list of lists of them", (value) => {
  if (!s.isListLike(value)) return undefined;
  return Array.from(value).some(s.isListLike) ? s.list("lists of token ids", TOKEN_IDS) : TOKEN_IDS;
});

/** See `Model.toTokens`. */
export function toTokens(model: TextModel, text: string | readonly string[], options?: EncodeInputOptions) {
  const read = s.readArgument(TEXTS, text, "toTokens", "text");
  const ids = toIds(read, model, s.readOptions(ENCODE_OPTIONS, options, "toTokens"));
  return isBatch(read) ? ids : ids[0];
}

/** See `Model.toText`. */
export function toText(model: TextModel, ids: IdsInput) {
  const read = s.readArgument(IDS, ids, "toText", "ids");
  const tokenizer = requireTokenizer(model, "Show the ids instead.");
  const isOne = (given: typeof read): given is number[] => !Array.isArray(given[0]);
  return isOne(read) ? tokenizer.decode(read) : read.map((list) => tokenizer.decode(list));
}

/** See `Model.toStrTokens`. */
export function toStrTokens(model: TextModel, input: TokenInput, options?: EncodeInputOptions) {
  const read = s.readArgument(TOKEN_INPUT, input, "toStrTokens", "input");
  const tokenizer = requireTokenizer(model, "Show the ids instead.");
  const ids = toIds(read, model, s.readOptions(ENCODE_OPTIONS, options, "toStrTokens"));
  const texts = ids.map((list) => list.map((id) => tokenizer.tokenText(id)));
  return isBatch(read) ? texts : texts[0];
}

/** See `Model.toSingleToken`. */
export function toSingleToken(model: TextModel, text: string): number {
  const tokenizer = requireTokenizer(model, "Give the token's id.");
  return tokenizer.singleToken(s.readArgument(s.text, text, "toSingleToken", "text"));
}
