/** The inputs that a model takes, and how they become token ids. */
import { type ConfigError, InputError } from "../errors.ts";
import * as s from "../schema/schema.ts";
import type { Tokenizer } from "../tokenizer/index.ts";

/**
 * Residuals to start from in place of token embeddings, as at `hook_embed` (after the embedding's scale, before
 * positions are added): for each sequence [pos, dModel].
 */
export interface EmbedsInput {
  inputsEmbeds: readonly s.NumberList[];
}

/** The residual before block `startAtLayer`, for each sequence [pos, dModel]: the blocks before it do not run. */
export interface ResidualInput {
  residual: readonly s.NumberList[];
  startAtLayer: number;
}

/** Text or the token ids of one sequence. */
export type SequenceInput = string | s.NumberList;

/** Text or token ids, one or a batch; sequences may differ in length. */
export type ModelInput = SequenceInput | readonly SequenceInput[] | EmbedsInput | ResidualInput;

/** Text or token ids, one or a batch. */
export type TokenInput = Exclude<ModelInput, EmbedsInput | ResidualInput>;

/** How text becomes token ids. */
export interface EncodeInputOptions {
  /** Prepend BOS to text; default: what the model's tokenizer does, and none where a cache is continued. Ids are taken as they are; `true` is refused for them. */
  addBos?: boolean;
}

export const ENCODE_FIELDS = { addBos: s.flag } as const;

/** Whether each is an id of the model is for the call to say, which knows the vocabulary. */
export const TOKEN_IDS = s.list<number>("token ids", {
  takes: "a token id",
  read: (value, at) => (isSequence(value) ? at.refuse(value, "a token id") : (value as number)),
});

/**
 * Index of the first entry that is no id of a vocabulary of that size, or -1. An index, since the entry itself may be
 * undefined.
 */
export function indexOfNoId(ids: readonly number[], vocabSize: number): number {
  return ids.findIndex((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
}

/** One text or the ids of one. */
export const SEQUENCE = s.byForm<string | number[]>("text or token ids", (value) =>
  typeof value === "string" ? s.text : s.isListLike(value) ? TOKEN_IDS : undefined,
);

const embeds = s.object<EmbedsInput>("embeddings", {
  inputsEmbeds: s.required(s.list("arrays of numbers [pos, dModel], one a sequence", s.numbers)),
});

const residual = s.object<ResidualInput>("a residual", {
  residual: s.required(s.list("arrays of numbers [pos, dModel], one a sequence", s.numbers)),
  startAtLayer: s.required(s.wholeFrom(0)),
});

const isSequence = (value: unknown): boolean => typeof value === "string" || s.isListLike(value);

/** One sequence or a batch of text or ids; not embeddings. */
export const TOKEN_INPUT = s.byForm<TokenInput>("text, token ids, or a list of either", (value) => {
  if (typeof value === "string") return s.text;
  if (!s.isListLike(value)) return undefined;
  return Array.from(value).some(isSequence)
    ? (s.list("texts or token ids", SEQUENCE) as s.Schema<TokenInput>)
    : TOKEN_IDS;
});

/** Everything a model may be given. */
export const MODEL_INPUT = s.byForm<ModelInput>(
  "text, token ids, a list of either, { inputsEmbeds }, or { residual, startAtLayer }",
  (value) => {
    if (isSequence(value)) return TOKEN_INPUT;
    if (typeof value !== "object" || value === null) return undefined;
    return "residual" in value ? residual : embeds;
  },
);

/** What a model knows of text. */
export interface TextModel {
  /** Undefined when the checkpoint has none, or none that can be used. */
  readonly tokenizer: Tokenizer | undefined;
  /** Why the checkpoint's tokenizer cannot be used. */
  readonly tokenizerError?: ConfigError | undefined;
}

/**
 * The model's tokenizer, for a call that needs one.
 * @param otherwise what to do without, as a sentence
 * @throws ConfigError why the checkpoint's tokenizer cannot be used; InputError `input/no-tokenizer` when there is none.
 */
export function requireTokenizer({ tokenizer, tokenizerError }: TextModel, otherwise: string): Tokenizer {
  if (tokenizer) return tokenizer;
  if (tokenizerError) throw tokenizerError;
  throw new InputError(
    "input/no-tokenizer",
    `This model has no tokenizer (no tokenizer.json beside the weights). ${otherwise}`,
  );
}

/** Whether an input is vectors, which have no tokens. */
export function isEmbeds(input: ModelInput): input is EmbedsInput | ResidualInput {
  return typeof input === "object" && ("inputsEmbeds" in input || "residual" in input);
}

/** The vectors of each sequence, and the block that they are before; undefined: they take the place of embeddings. */
export function vectorsOf(input: EmbedsInput | ResidualInput): {
  vectors: readonly s.NumberList[];
  startAtLayer?: number;
} {
  if ("inputsEmbeds" in input) return { vectors: input.inputsEmbeds };
  return { vectors: input.residual, startAtLayer: input.startAtLayer };
}

/** How text becomes ids in a call: what continues a cache gets no BOS unless it is asked for. */
export function bosFor(options: EncodeInputOptions & { kv?: { lengths: readonly number[] } }): EncodeInputOptions {
  const continues = options.kv?.lengths.some((length) => length > 0) ?? false;
  return { addBos: options.addBos ?? (continues ? false : undefined) };
}

/** Whether an input is a list of sequences, or one. */
export function isBatch(input: TokenInput): input is readonly SequenceInput[] {
  return typeof input !== "string" && (input.length === 0 || input.some(isSequence));
}

/**
 * Token ids of each sequence.
 * @throws InputError `input/no-tokenizer` for text without a tokenizer, `input/empty` for nothing to run,
 *   `input/bos-of-ids` for a BOS that is to be put before ids; ConfigError `tokenizer/unsupported` or `tokenizer/broken` for
 *   text when the checkpoint's tokenizer cannot be used.
 */
export function toIds(input: TokenInput, model: TextModel, options: EncodeInputOptions = {}): number[][] {
  const sequences = (isBatch(input) ? input : [input]) as readonly (string | readonly number[])[];
  const ids = sequences.map((sequence) => {
    if (typeof sequence !== "string") {
      if (!options.addBos) return [...sequence];
      throw new InputError(
        "input/bos-of-ids",
        "addBos is true, but token ids are taken as they are. Put the BOS token's id before them, or leave addBos out.",
      );
    }
    const tokenizer = requireTokenizer(model, "Give token ids instead of text.");
    return tokenizer.encode(sequence, { addBos: options.addBos });
  });
  if (ids.length === 0) throw new InputError("input/empty", "The batch is empty. Give at least one sequence.");
  ids.forEach((list, sequence) => {
    if (list.length === 0)
      throw new InputError(
        "input/empty",
        `Sequence ${sequence} is empty. Give at least one token; a BOS token will do.`,
      );
  });
  return ids;
}
