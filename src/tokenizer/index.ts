/**
 * One interface over two kinds of tokenizer. A checkpoint's `tokenizer.json` is used when there is one; GPT-2's built-in
 * vocabulary when the model is known to use it; otherwise there is no tokenizer and the model takes token ids only.
 * Both are loaded on first use, so that a bundler can leave them in chunks of their own.
 */
import { ConfigError, SuperlensError } from "../errors.ts";
import * as s from "../schema/schema.ts";
import { CHAT_TEMPLATE_OPTIONS, ChatTemplates, MESSAGES } from "./chat.ts";
import { GPT2_SPECIAL_TOKENS, loadGpt2Tokenizer, usesGpt2Vocabulary } from "./gpt2.ts";
import { wholeIds } from "./ids.ts";
import { isId, isObject, type JsonObject } from "./parts.ts";
import type { NamingFiles, TokenizerFiles } from "./special-names.ts";
import type { TextTokenizer, Tokenizer } from "./types.ts";

export type { ChatMessage, ChatTemplateOptions } from "./chat.ts";
export type { DecodeOptions, EncodeOptions, TextTokenizer, Tokenizer, TokenStream } from "./types.ts";

/** Where the tokenizer's files come from. */
export interface TokenizerSource {
  /** The parsed JSON file of that name, or undefined when the checkpoint has none. */
  json(name: string): Promise<unknown | undefined>;
  /** The text of a file, or undefined when the checkpoint has none. Default: it has no text files. */
  text?(name: string): Promise<string | undefined>;
}

/** What the model says about its vocabulary. */
export interface TokenizerContext {
  /** `model_type` of `config.json`. */
  modelType: string;
  /** Rows of the embedding. */
  vocabSize: number;
  /** Told of a setting that is ignored. */
  onNotice?: ((message: string) => void) | undefined;
}

/**
 * The tokenizer of a checkpoint, or undefined when it has none (token ids only).
 *
 * BOS: unless {@link EncodeOptions.addBos} says otherwise, a text gets what the `post_processor` of `tokenizer.json` adds.
 * GPT-2's adds none.
 *
 * @throws ConfigError `tokenizer/broken` for a file that is not JSON or not a tokenizer, `tokenizer/unsupported` for a
 *   setting that would not be read as its author meant it. Both name file and setting.
 */
export async function loadTokenizer(files: TokenizerSource, context: TokenizerContext): Promise<Tokenizer | undefined> {
  const json = await readJson(files, "tokenizer.json");
  if (json === undefined && !usesGpt2Vocabulary(context.modelType, context.vocabSize)) return undefined;
  const names = await namesOf(files);
  const tokenizer =
    json === undefined
      ? await readGpt2(files, context)
      : await readHuggingFace(files, context, { tokenizer: json, ...names });
  const template = await files.text?.("chat_template.jinja");
  const templates = new ChatTemplates({ ...names, template }, json === undefined ? GPT2_SPECIAL_TOKENS : {});
  return {
    ...tokenizer,
    encode: (text, options) => wholeIds(tokenizer.encode(text, options), text),
    applyChatTemplate: async (messages, options) =>
      templates.render(
        s.readArgument(MESSAGES, messages, "applyChatTemplate", "messages"),
        s.readOptions(CHAT_TEMPLATE_OPTIONS, options, "applyChatTemplate"),
      ),
  };
}

async function readHuggingFace(
  files: TokenizerSource,
  context: TokenizerContext,
  parsed: TokenizerFiles,
): Promise<TextTokenizer> {
  const eosIds = await configuredEos(files, context);
  const { makeHuggingFaceTokenizer } = await import("./huggingface.ts");
  return makeHuggingFaceTokenizer(parsed, context.vocabSize, eosIds);
}

async function readGpt2(files: TokenizerSource, context: TokenizerContext): Promise<TextTokenizer> {
  const vocabulary = { ...(await readObject(files, "vocab.json")), ...(await readObject(files, "added_tokens.json")) };
  return loadGpt2Tokenizer(context.vocabSize, vocabulary, await configuredEos(files, context));
}

/** The files that name special tokens. */
async function namesOf(files: TokenizerSource): Promise<NamingFiles> {
  const config = await readObject(files, "tokenizer_config.json");
  return { config, specialTokens: await readObject(files, "special_tokens_map.json") };
}

/**
 * `eos_token_id`, a number or a list, of the first file that has it; Hugging Face's `generate` asks in this order. What
 * is no token id is ignored, with a notice.
 */
async function configuredEos(files: TokenizerSource, { onNotice }: TokenizerContext): Promise<number[] | undefined> {
  for (const name of ["generation_config.json", "config.json"]) {
    const settings = await readObject(files, name);
    // Of a checkpoint for pictures and text perhaps that of its text model alone.
    const { text_config: text } = settings;
    const given = [settings.eos_token_id ?? (isObject(text) ? text.eos_token_id : undefined) ?? undefined].flat();
    const ids = given.filter(isId);
    for (const id of given) {
      if (id === undefined || isId(id)) continue;
      const found = typeof id === "number" ? String(id) : JSON.stringify(id);
      onNotice?.(`${name}: eos_token_id ${found} is ignored; a token id is a whole number of at least 0.`);
    }
    if (ids.length > 0 || given.length === 0) return [...new Set(ids)];
  }
  return undefined;
}

async function readObject(files: TokenizerSource, name: string): Promise<JsonObject> {
  const value = await readJson(files, name);
  if (value === undefined) return {};
  if (isObject(value)) return value;
  throw new ConfigError(
    "tokenizer/broken",
    `${name}: expected a JSON object. Download the file again, or give token ids instead of text.`,
  );
}

async function readJson(files: TokenizerSource, name: string): Promise<unknown> {
  try {
    return await files.json(name);
  } catch (cause) {
    const isNotJson =
      cause instanceof SyntaxError || (cause instanceof SuperlensError && cause.code === "checkpoint/json");
    if (!isNotJson) throw cause;
    const message = `${name}: not valid JSON (${cause.message}). Download the file again, or give token ids instead of text.`;
    throw new ConfigError("tokenizer/broken", message, { cause });
  }
}
