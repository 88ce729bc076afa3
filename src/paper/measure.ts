/** What a model answers to prompts: the probability of each task's answer, and where it ranks among all tokens. */
import { MODEL } from "../hooks/call.ts";
import type { HookedModel } from "../hooks/index.ts";
import * as s from "../schema/schema.ts";
import { BATCH_TOKENS, nextTokens, rankOf } from "./next-token.ts";
import { PROMPT, type Prompt, promptIds } from "./prompts.ts";
import { VOCABULARY, type Vocabulary } from "./tasks/vocabulary.ts";

/** A prompt's answers, by role. */
export interface Measured {
  /** Of the whole answer, line break included. */
  readonly probabilities: readonly number[];
  /** How many tokens are likelier than the answer. Undefined where an answer is more than one token. */
  readonly ranks: readonly number[] | undefined;
}

export interface MeasureOptions {
  /** Ends it with `signal.reason` between two batches. */
  signal?: AbortSignal;
}

export const MEASURE_OPTIONS = s.object<MeasureOptions>("the options of measurePrompts", { signal: s.signal });

/**
 * Measures prompts on a model that was trained with the vocabulary.
 * @throws InputError for a prompt that is longer than the model's context; PaperError `paper/vocabulary`
 */
export async function measurePrompts(
  model: HookedModel,
  vocabulary: Vocabulary,
  prompts: readonly Prompt[],
  options: MeasureOptions = {},
): Promise<Measured[]> {
  s.readArgument(MODEL, model, "measurePrompts", "model");
  s.readArgument(VOCABULARY, vocabulary, "measurePrompts", "vocabulary");
  s.readArgument(s.list("prompts, of evaluationPrompts()", PROMPT), prompts, "measurePrompts", "prompts");
  const { signal } = s.readOptions(MEASURE_OPTIONS, options, "measurePrompts");
  const measured: Measured[] = [];
  const inputs = prompts.map((prompt) => promptIds(vocabulary, prompt));
  const batch = Math.max(1, Math.floor(BATCH_TOKENS / Math.max(1, ...inputs.map((ids) => ids.length))));
  for (let first = 0; first < prompts.length; first += batch) {
    signal?.throwIfAborted();
    const answers = prompts
      .slice(first, first + batch)
      .map(({ answers }) => answers.map((a) => vocabulary.answerIds(a)));
    const ids = inputs.slice(first, first + batch);
    const isOneToken = answers.flat().every((answer) => answer.length === 1);
    measured.push(...(await (isOneToken ? byLogits : byChainRule)(model, ids, answers, signal)));
  }
  return measured;
}

/** Answers of one token: all prompts in one pass. */
async function byLogits(
  model: HookedModel,
  prompts: readonly number[][],
  answers: readonly number[][][],
  signal: AbortSignal | undefined,
): Promise<Measured[]> {
  using run = await model.forward(prompts, { logits: "last", ...(signal ? { signal } : {}) });
  const logits = await run.logits.read();
  const { vocabSize } = model.spec;
  return answers.map((list, row) => {
    const next = nextTokens(logits.subarray(row * vocabSize, (row + 1) * vocabSize));
    const ids = list.map(([id]) => id as number);
    return {
      probabilities: ids.map((id) => Math.exp(next.logProbs[id] as number)),
      ranks: ids.map((id) => rankOf(next, id)),
    };
  });
}

/** Answers of several tokens: the product of each token's probability after those before it. */
async function byChainRule(
  model: HookedModel,
  prompts: readonly number[][],
  answers: readonly number[][][],
  signal: AbortSignal | undefined,
): Promise<Measured[]> {
  const measured: Measured[] = [];
  for (const [row, prompt] of prompts.entries()) {
    signal?.throwIfAborted();
    const found = await model.logProbs(prompt, answers[row] as number[][]);
    measured.push({ probabilities: found.map(({ logProb }) => Math.exp(logProb)), ranks: undefined });
  }
  return measured;
}
