/** What a model may be given, and how it becomes token ids. */
import { type ConfigError, InputError } from "../errors.ts";
import type { Tokenizer } from "../tokenizer/index.ts";

/**
 * Residuals to start from in place of token embeddings, as at `hook_embed` (after the embedding's scale, before
 * positions are added): for each sequence [pos, dModel].
 */
export interface EmbedsInput {
  inputsEmbeds: readonly Float32Array[];
}

/** Text or token ids, one or a batch; sequences may differ in length. */
export type ModelInput = string | readonly string[] | readonly number[] | readonly (readonly number[])[] | EmbedsInput;

/** How text becomes token ids. */
export interface EncodeInputOptions {
  /** Prepend BOS to text; default: what the model's tokenizer does. Ids are taken as they are. */
  addBos?: boolean;
}

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

export function isEmbeds(input: ModelInput): input is EmbedsInput {
  return typeof input === "object" && "inputsEmbeds" in input;
}

/**
 * Token ids of each sequence.
 * @throws InputError `input/no-tokenizer` for text without a tokenizer, `input/empty` for nothing to run; ConfigError
 *   `tokenizer/unsupported` or `tokenizer/broken` for text when the checkpoint's tokenizer cannot be used.
 */
export function toIds(
  input: Exclude<ModelInput, EmbedsInput>,
  model: TextModel,
  options: EncodeInputOptions = {},
): number[][] {
  const sequences = (typeof input === "string" || typeof input[0] === "number" ? [input] : input) as readonly (
    | string
    | readonly number[]
  )[];
  const ids = sequences.map((sequence) => {
    if (typeof sequence !== "string") return [...sequence];
    const tokenizer = requireTokenizer(model, "Give token ids instead of text.");
    return tokenizer.encode(sequence, options.addBos === undefined ? {} : { addBos: options.addBos });
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
