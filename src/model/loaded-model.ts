/**
 * A loaded model, and what can be asked of it without running it: what it is made of, text to token ids and back, weights,
 * and caches to run it with. The plain `Model` and `HookedModel` each add their passes.
 *
 * Text and weights go by TransformerLens's names. One text gives one list, a list of texts gives a list of lists. `forward`
 * makes the same ids of a text.
 */
import { type ConfigError, InputError } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import * as s from "../schema/schema.ts";
import { CHAT_TEMPLATE_OPTIONS, type ChatMessage, type ChatTemplateOptions, MESSAGES } from "../tokenizer/chat.ts";
import type { Tokenizer } from "../tokenizer/index.ts";
import { chatIds } from "./chat.ts";
import type { Engine } from "./engine.ts";
import {
  ENCODE_FIELDS,
  type EncodeInputOptions,
  isBatch,
  requireTokenizer,
  SEQUENCE,
  type SequenceInput,
  type TextModel,
  TOKEN_IDS,
  TOKEN_INPUT,
  type TokenInput,
  toIds,
} from "./input.ts";
import { KvCache } from "./kv-cache.ts";
import { refuseOldNames } from "./renamed.ts";
import type { ModelSpec } from "./spec.ts";
import { readWeight, type WeightValues, weightTable } from "./weights/read.ts";

export const ENCODE_OPTIONS = s.object<EncodeInputOptions>("the options of text", ENCODE_FIELDS);

/** Options of `createKvCache`. */
export interface KvCacheOptions {
  /** How many sequences it holds. Default 1. */
  sequences?: number;
  /** Tokens in all before it has to grow. Default 64. */
  capacity?: number;
}

export const KV_CACHE_OPTIONS = s.object<KvCacheOptions>("the options of createKvCache", {
  sequences: s.wholeFrom(1),
  capacity: s.wholeFrom(1),
});

/** Options of `tokenPosition`. */
export interface TokenPositionOptions extends EncodeInputOptions {
  /** Which one is meant where the token occurs several times. Default `"first"`. */
  mode?: "first" | "last";
}

export const TOKEN_POSITION_OPTIONS = s.object<TokenPositionOptions>("the options of tokenPosition", {
  ...ENCODE_FIELDS,
  mode: s.oneOf("first", "last"),
});

const ONE_TOKEN = s.byForm<string | number>("a text that is one token, or a token id", (value) =>
  typeof value === "string" ? s.text : s.isWhole(value, 0) ? s.whole : undefined,
);

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

/** Frees its memory with `destroy()`; works with `using`. */
export class LoadedModel implements TextModel {
  static {
    refuseOldNames(LoadedModel);
  }

  /** The device that it runs on. */
  readonly gpu: Gpu;
  /** Its architecture. */
  readonly spec: ModelSpec;
  /** For those who build passes of their own. */
  readonly engine: Engine;
  /** Undefined when the checkpoint has none, or none that can be used. */
  readonly tokenizer: Tokenizer | undefined;
  /** Why the checkpoint's tokenizer cannot be used; text is refused with it. */
  readonly tokenizerError: ConfigError | undefined;
  /** Where the model came from, for messages. */
  readonly label: string;
  /** `config.json` of its checkpoint. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Whether the device was requested for the model, and ends with it. */
  readonly ownsGpu: boolean;

  constructor(model: Pick<LoadedModel, "gpu" | "spec" | "engine" | "label" | "config" | "ownsGpu"> & TextModel) {
    this.gpu = model.gpu;
    this.spec = model.spec;
    this.engine = model.engine;
    this.tokenizer = model.tokenizer;
    this.tokenizerError = model.tokenizerError;
    this.label = model.label;
    this.config = model.config;
    this.ownsGpu = model.ownsGpu;
  }

  /** An empty key-value cache for `sequences` sequences, with room for `capacity` tokens in all before it has to grow. */
  createKvCache(options: KvCacheOptions = {}): KvCache {
    const { sequences = 1, capacity = 64 } = s.readOptions(KV_CACHE_OPTIONS, options, "createKvCache");
    this.engine.assertAlive();
    return KvCache.create(this.gpu, this.spec, sequences, capacity);
  }

  /** Token ids of text, as `forward` would make them: a list, and for a list of texts a list of lists. */
  toTokens<T extends string | readonly string[]>(text: T, options?: EncodeInputOptions): PerSequence<T, number[]> {
    const read = s.readArgument(TEXTS, text, "toTokens", "text");
    const ids = toIds(read, this, s.readOptions(ENCODE_OPTIONS, options, "toTokens"));
    return (isBatch(read) ? ids : ids[0]) as PerSequence<T, number[]>;
  }

  /** The text of token ids, special tokens included; of a list of lists, a list. */
  toText<T extends IdsInput>(ids: T): PerSequence<T, string> {
    const read = s.readArgument(IDS, ids, "toText", "ids");
    const tokenizer = requireTokenizer(this, "Show the ids instead.");
    const isOne = (given: typeof read): given is number[] => !Array.isArray(given[0]);
    const texts = isOne(read) ? tokenizer.decode(read) : read.map((list) => tokenizer.decode(list));
    return texts as PerSequence<T, string>;
  }

  /** The text of each token, as `Tokenizer.tokenText` shows it; of a list of texts or of lists of ids, a list of lists. */
  toStrTokens<T extends TokenInput>(input: T, options?: EncodeInputOptions): PerSequence<T, string[]> {
    const read = s.readArgument(TOKEN_INPUT, input, "toStrTokens", "input");
    const tokenizer = requireTokenizer(this, "Show the ids instead.");
    const ids = toIds(read, this, s.readOptions(ENCODE_OPTIONS, options, "toStrTokens"));
    const texts = ids.map((list) => list.map((id) => tokenizer.tokenText(id)));
    return (isBatch(read) ? texts : texts[0]) as PerSequence<T, string[]>;
  }

  /**
   * Token ids of a conversation by the model's chat template, for `forward` and `generate`: transformers'
   * `apply_chat_template`. They end with what begins the answer, unless `addGenerationPrompt` is false.
   *
   *     for await (const { text } of model.generate(await model.chat([{ role: "user", content: "Hello" }]))) print(text);
   *
   * @throws as `Tokenizer.applyChatTemplate`; InputError `input/no-tokenizer`
   */
  async chat(messages: readonly ChatMessage[], options: ChatTemplateOptions = {}): Promise<number[]> {
    const read = s.readArgument(MESSAGES, messages, "chat", "messages");
    return chatIds(this, read, s.readOptions(CHAT_TEMPLATE_OPTIONS, options, "chat"));
  }

  /**
   * The id of a text that is exactly one token, without BOS: an answer to measure. Most tokens begin with a space, so that
   * " Lucy" is one where "Lucy" is several. The token's text is exactly the text given; see `Tokenizer.singleToken`.
   * @throws InputError `tokenizer/not-one-token` naming the tokens of any other text; `input/no-tokenizer`.
   */
  toSingleToken(text: string): number {
    const tokenizer = requireTokenizer(this, "Give the token's id.");
    return tokenizer.singleToken(s.readArgument(s.text, text, "toSingleToken", "text"));
  }

  /**
   * Where a token is in a text or a list of ids: TransformerLens's `get_token_position`. A BOS that the tokenizer puts first counts.
   * @throws InputError `input/no-such-token` where it does not occur; what `toSingleToken` throws of a text that is not one token.
   */
  tokenPosition(token: string | number, input: SequenceInput, options?: TokenPositionOptions): number {
    const wanted = s.readArgument(ONE_TOKEN, token, "tokenPosition", "token");
    const read = s.readArgument(SEQUENCE, input, "tokenPosition", "input");
    const { mode = "first", ...encoding } = s.readOptions(TOKEN_POSITION_OPTIONS, options ?? {}, "tokenPosition");
    const id = typeof wanted === "string" ? this.toSingleToken(wanted) : wanted;
    const ids = toIds(read, this, encoding)[0] as number[];
    const position = mode === "first" ? ids.indexOf(id) : ids.lastIndexOf(id);
    if (position >= 0) return position;
    throw new InputError(
      "input/no-such-token",
      `Token ${id}${typeof wanted === "string" ? ` (${JSON.stringify(wanted)})` : ""} does not occur in the ${ids.length} tokens. Most tokens begin with a space; toStrTokens() shows how the text is cut.`,
    );
  }

  /** TransformerLens's names of the weights this model has, in the order of the forward pass. */
  weightNames(): string[] {
    return [...weightTable(this.engine).keys()];
  }

  /**
   * A weight by TransformerLens's name and in its shape (`W_U`, `blocks.3.attn.W_O`), with the checkpoint's numbers: nothing is
   * folded, centred or scaled, and no edit changes them.
   * @throws InputError `input/no-weight` naming the nearest; `input/model-destroyed`.
   */
  async weight(name: string): Promise<WeightValues> {
    return readWeight(this.engine, s.readArgument(s.text, name, "weight", "name"));
  }

  /** Frees the weights, and the device if the model requested it. */
  destroy(): void {
    this.engine.destroy();
    if (this.ownsGpu) this.gpu.destroy();
  }

  /** The end of a `using` block. */
  [Symbol.dispose](): void {
    this.destroy();
  }
}
