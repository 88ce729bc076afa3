/**
 * What a model answers to prompts of tasks. Models that were trained here are asked in tokens of their vocabulary, and an answer
 * ends with its line break; models with a tokenizer are asked in text, and an answer is the task's words, as in the paper.
 */
import { MODEL } from "../hooks/call.ts";
import type { Edit, HookedModel } from "../hooks/index.ts";
import { LONG_CALL_FIELDS, type LongCallOptions } from "../model/long-call.ts";
import * as s from "../schema/schema.ts";
import { type AskedPrompt, answerProbabilities } from "./answers.ts";
import { PaperError } from "./errors.ts";
import { PROMPT, type Prompt, promptInput } from "./prompts.ts";
import { LINE_BREAK, VOCABULARY, type Vocabulary } from "./tasks/vocabulary.ts";

/** What a prompt showed. Lists are by role. */
export interface Measured {
  /** Of the whole answer. */
  readonly probabilities: readonly number[];
  /** How many tokens are likelier than the answer. Undefined where an answer is more than one token. */
  readonly ranks: readonly number[] | undefined;
  /** 1 minus the probability of all answers. */
  readonly other: number;
  /** Of the next token, in nats. */
  readonly entropy: number;
  /** The probability of the likeliest token with which no task's answer begins. */
  readonly likeliestOther: number;
  /** Whether an answer begins another one, so that its probability includes the other's. */
  readonly isOverlapping: boolean;
}

/** How prompts are asked. */
export interface MeasureOptions extends LongCallOptions {
  /** Whether the line break after an answer counts, also in text: then none includes another. Default false. */
  wholeLines?: boolean;
  /** Of each prompt, beside those of a `withEdits` view; they name no `batch`. */
  edits?: readonly (readonly Edit[])[];
}

export const MEASURE_OPTIONS = s.object<MeasureOptions>("the options of measurePrompts", {
  wholeLines: s.flag,
  // Each is read by `answerProbabilities`.
  edits: s.list("a list of edits for each prompt", s.simple<readonly Edit[]>("a list of edits", Array.isArray)),
  ...LONG_CALL_FIELDS,
});

/**
 * Measures prompts, also on a `withEdits` view of a model.
 * @param vocabulary what the model was trained with; undefined for a model with a tokenizer
 * @throws PaperError `paper/no-tokenizer`, `paper/vocabulary`; InputError and HookError as `answerProbabilities`, as for a
 *   prompt that is longer than the model's context
 */
export async function measurePrompts(
  model: HookedModel,
  vocabulary: Vocabulary | undefined,
  prompts: readonly Prompt[],
  options: MeasureOptions = {},
): Promise<Measured[]> {
  s.readArgument(MODEL, model, "measurePrompts", "model");
  if (vocabulary !== undefined) s.readArgument(VOCABULARY, vocabulary, "measurePrompts", "vocabulary");
  s.readArgument(s.list("prompts, of evaluationPrompts()", PROMPT), prompts, "measurePrompts", "prompts");
  const { wholeLines, edits, ...call } = s.readOptions(MEASURE_OPTIONS, options, "measurePrompts");
  assertAskable(model, vocabulary);
  if (edits && edits.length !== prompts.length)
    throw new PaperError(
      "paper/prompt",
      `measurePrompts got ${prompts.length} prompts and edits of ${edits.length}. Give a list for each, which may be empty.`,
    );
  const asked = prompts.map((prompt, index) => ({
    ...askedOf(vocabulary, prompt, wholeLines ? LINE_BREAK : ""),
    edits: edits?.[index] ?? [],
  }));
  const found = await answerProbabilities(model, asked, call);
  return found.map(({ answers, other, entropy, likeliestOther, prefixes }) => ({
    probabilities: answers.map(({ probability }) => probability),
    ranks: answers.every(({ tokens }) => tokens.length === 1) ? answers.map(({ rank }) => rank) : undefined,
    other,
    entropy,
    likeliestOther: likeliestOther?.probability ?? 0,
    isOverlapping: prefixes.length > 0,
  }));
}

/** @throws PaperError `paper/no-tokenizer` */
export function assertAskable({ tokenizer, label }: HookedModel, vocabulary: Vocabulary | undefined): void {
  if (vocabulary || tokenizer) return;
  throw new PaperError(
    "paper/no-tokenizer",
    `${label} has neither a tokenizer nor a vocab.json of one token a word: it cannot be asked. Use a model that has one.`,
  );
}

/**
 * A prompt of tasks as it is asked.
 * @param end of an answer in text
 */
export function askedOf(vocabulary: Vocabulary | undefined, prompt: Prompt, end = ""): AskedPrompt {
  const answers = prompt.answers.map((answer) => vocabulary?.answerIds(answer) ?? answer + end);
  return { prompt: promptInput(vocabulary, prompt), answers };
}
