/**
 * Does the model know the answer? For each token of an answer after a prompt: its rank, its probability, and the most likely
 * tokens in its place. TransformerLens's `test_prompt`, as data.
 */
import { HookError } from "../../errors.ts";
import { SEQUENCE, type SequenceInput, type TextModel } from "../../model/input.ts";
import { answerTokens, LOG_PROBS_FIELDS, type LogProbsOptions } from "../../model/log-probs.ts";
import type { ModelSpec } from "../../model/spec.ts";
import * as s from "../../schema/schema.ts";
import { readCall } from "../call.ts";
import type { HookedModel } from "../hooked-model.ts";

/** Options of `testPrompt`. */
export interface TestPromptOptions extends LogProbsOptions {
  /** What comes before the answer. */
  prompt: SequenceInput;
  /** What should come next. Most answers begin with a space. */
  answer: SequenceInput;
  /** How many of the most likely tokens to give in each place. Default 10. */
  topK?: number;
}

export const TEST_PROMPT_OPTIONS = s.object<TestPromptOptions>("the options of testPrompt", {
  ...LOG_PROBS_FIELDS,
  prompt: s.required(SEQUENCE),
  answer: s.required(SEQUENCE),
  topK: s.wholeFrom(1),
});

/** A token with what the model gives it. */
export interface TopToken {
  token: number;
  /** The token's text, when the model has a tokenizer. */
  text: string | undefined;
  logit: number;
  probability: number;
}

/** A token of the answer. */
export interface TestedToken extends TopToken {
  /** Its position in prompt and answer together; the position before it predicts it. */
  position: number;
  /** How many tokens have a larger logit: 0 for the most likely. */
  rank: number;
  /** Natural logarithm of the probability. */
  logProb: number;
  /** The most likely tokens in its place, the most likely first. */
  top: TopToken[];
}

/** What `testPrompt` finds. */
export interface PromptTest {
  /** The answer's tokens. */
  tokens: TestedToken[];
  /** Natural logarithm of the whole answer's probability. */
  logProb: number;
  /** exp(logProb). */
  probability: number;
}

/** What is known before the model runs: the tokens of both. */
export interface PreparedTest {
  promptIds: number[];
  answerIds: number[];
}

/**
 * Runs the prompt with the answer once, and reads the logits that predict the answer's tokens. In a `withEdits` scope the edits
 * are made.
 * @throws InputError as `logProbs`; HookError `hook/top-k`
 */
export async function testPrompt(model: HookedModel, given: TestPromptOptions): Promise<PromptTest> {
  const read = readCall("testPrompt", model, TEST_PROMPT_OPTIONS, given);
  const { signal, topK = 10 } = read;
  const { promptIds, answerIds } = prepareTest(model, read);
  const predicting = answerIds.map((_, index) => promptIds.length - 1 + index);
  const ids = [...promptIds, ...answerIds.slice(0, -1)];
  using result = await model.forward(ids, { logits: predicting, signal });
  const tokens: TestedToken[] = [];
  for (const [index, token] of answerIds.entries()) {
    const position = promptIds.length + index;
    tokens.push(tested(model, await result.logits.at(0, position - 1), token, position, topK));
  }
  const logProb = tokens.reduce((sum, token) => sum + token.logProb, 0);
  return { tokens, logProb, probability: Math.exp(logProb) };
}

/** The tokens of prompt and answer, checked: all that can be known without weights. */
export function prepareTest(
  model: TextModel & { readonly spec: ModelSpec },
  { prompt, answer, addBos, tokenization, topK = 10 }: s.Read<TestPromptOptions>,
): PreparedTest {
  const { vocabSize } = model.spec;
  if (topK > vocabSize)
    throw new HookError("hook/top-k", `topK is ${topK}; it must be a whole number from 1 to ${vocabSize}.`);
  const options = { ...(addBos !== undefined && { addBos }), ...(tokenization && { tokenization }) };
  const asGiven = (input: SequenceInput) => (typeof input === "string" ? input : Array.from(input));
  const { promptIds, tokens } = answerTokens(model, asGiven(prompt), [asGiven(answer)], options);
  return { promptIds, answerIds: tokens[0] as number[] };
}

/** A token's place among the logits [vocab] that predict it. */
function tested(model: HookedModel, logits: Float32Array, token: number, position: number, topK: number): TestedToken {
  const logit = logits[token] as number;
  const largest = logits.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  const normalizer = largest + Math.log(logits.reduce((sum, value) => sum + Math.exp(value - largest), 0));
  const of = (id: number): TopToken => {
    const value = logits[id] as number;
    const text = model.tokenizer?.tokenText(id);
    return { token: id, text, logit: value, probability: Math.exp(value - normalizer) };
  };
  const rank = logits.reduce((count, value) => count + Number(value > logit), 0);
  const order = Uint32Array.from(logits.keys()).sort((a, b) => (logits[b] as number) - (logits[a] as number) || a - b);
  const top = Array.from(order.subarray(0, topK), of);
  return { ...of(token), position, rank, logProb: logit - normalizer, top };
}
