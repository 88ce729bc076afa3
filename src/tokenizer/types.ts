/**
 * What every tokenizer can do. Text goes in and token ids come out; ids go in and text comes out, at once or token by
 * token. Which library does the work is not visible here.
 */

import type { ChatMessage, ChatTemplateOptions } from "./chat.ts";

/** How to encode. */
export interface EncodeOptions {
  /**
   * Whether the ids begin with the beginning-of-sequence token.
   *
   * - absent: what the checkpoint's tokenizer does of its own accord (Hugging Face's `tokenizer(text)`): Llama and Gemma
   *   begin with BOS, GPT-2 does not. See {@link Tokenizer.addsBos}.
   * - `true`: with what the tokenizer's post-processor puts in front of a text, or with BOS where it puts nothing.
   * - `false`: without anything in front, be it BOS or several tokens (GLM's `[gMASK]<sop>`).
   *
   * BOS is never doubled: a text that itself begins with the BOS token (`"<s>Once"`), or with all that would be put in
   * front, keeps that and gets no second. (Hugging Face doubles it.)
   */
  addBos?: boolean;
  /** `false`: nothing before or behind the text, as text needs that spells its own special tokens. */
  addSpecialTokens?: boolean;
}

/** How to decode. */
export interface DecodeOptions {
  /** Leave out special tokens such as BOS and EOS. Default `false`, as in Hugging Face. */
  skipSpecial?: boolean;
}

/** Turns ids into text one at a time. What `push` and `end` return, joined, is `decode` of all the ids pushed. */
export interface TokenStream {
  /**
   * Text that became complete with this token: possibly none, when the token ends inside a UTF-8 character, or inside a
   * run of byte tokens (`<0xE2>`).
   * @throws InputError `tokenizer/id-out-of-range`.
   */
  push(id: number): string;
  /** What was still held back; an unfinished character becomes U+FFFD. The stream then starts anew. */
  end(): string;
}

/** A tokenizer of one checkpoint: text to ids and back. */
export interface TextTokenizer {
  /** `huggingface`: read from `tokenizer.json`; `gpt2`: the built-in byte-level BPE of GPT-2. */
  readonly kind: "huggingface" | "gpt2";
  /** Ids 0..vocabSize-1 belong to the tokenizer. The model's vocabulary is often padded beyond it, seldom shorter. */
  readonly vocabSize: number;
  /**
   * The beginning-of-sequence token, when there is one: `bos_token`, unless the post-processor puts others in front of a
   * text; then the first of those.
   */
  readonly bosId?: number;
  /** Whether `encode(text)` begins with BOS, or with what the post-processor puts in its place, when `addBos` is not given. */
  readonly addsBos: boolean;
  /** Tokens that end a generation: of `generation_config.json`, else `config.json`, else the tokenizer's EOS. Some may lie outside the vocabulary. */
  readonly eosIds: number[];
  /**
   * Token ids of `text`. Special tokens spelled in the text (`"<s>"`) become their ids. An empty text gives no ids
   * (or BOS alone).
   * @throws InputError `tokenizer/no-bos` when `addBos: true` and the tokenizer has no BOS token; `tokenizer/unknown-text`
   *   for text without a token when there is no token for unknown text.
   */
  encode(text: string, options?: EncodeOptions): number[];
  /**
   * The id of the token that has exactly this text, BOS and the like aside: `" Paris"`. Text that the normalizer makes equal
   * (`"Paris"` and `"paris"`) is the same. A space that the tokenizer itself puts before a text does not count when it is a
   * token of its own; when it is part of the token, that token is `" Paris"` and not `"Paris"`.
   * @throws InputError `tokenizer/not-one-token`, naming the tokens of the text; also when the text becomes one token that has
   *   another text, such as the one for unknown text.
   */
  singleToken(text: string): number;
  /**
   * Text of `ids`. Ids in the padded part of the model's vocabulary have no text. Bytes that are not UTF-8 become U+FFFD;
   * in a run of byte tokens (`<0xE2>`), one such byte makes all of the run U+FFFD.
   * @throws InputError `tokenizer/id-out-of-range` for an id that neither tokenizer nor model knows.
   */
  decode(ids: readonly number[], options?: DecodeOptions): string;
  /**
   * One token as people want to see it: `" Hello"` with its leading space, an added token as it is listed (`"<s>"`), `"\n"`; bytes of an unfinished
   * character as `"<0xE2>"`; an id without a token as `"<id 151700>"`.
   * @throws InputError `tokenizer/id-out-of-range`.
   */
  tokenText(id: number): string;
  /** A new incremental detokenizer. */
  stream(options?: DecodeOptions): TokenStream;
}

/** A tokenizer with the chat templates of its checkpoint. */
export interface Tokenizer extends TextTokenizer {
  /**
   * The text of a conversation by the checkpoint's chat template: the string of transformers' `apply_chat_template`. It has all
   * its special tokens, so it is encoded with `addSpecialTokens: false`, as `model.chat` does.
   * @throws InputError `tokenizer/no-chat-template`, `tokenizer/chat-role` for a role that the template does not name,
   *   `tokenizer/chat-template` where the template refuses (`raise_exception`) or cannot be rendered.
   */
  applyChatTemplate(messages: readonly ChatMessage[], options?: ChatTemplateOptions): Promise<string>;
}
