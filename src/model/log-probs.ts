/**
 * Probabilities of whole answers. By the chain rule an answer's log probability is the sum of its tokens', each given
 * the prompt and the tokens before. The prompt runs once, and all answers continue forks of its key-value cache in one
 * batch. Only one number a token is read back.
 */

import { InputError } from "../errors.ts";
import type { Readback } from "../gpu/readback.ts";
import { foldGrid, type Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import * as kernels from "../kernels/definitions.ts";
import { elementGrid } from "../kernels/launch.ts";
import { rowBlocks } from "../kernels/row-blocks.ts";
import { packedView } from "../kernels/view.ts";
import * as s from "../schema/schema.ts";
import { assertCausal } from "./causality.ts";
import { assertRunnable } from "./engine.ts";
import { bosFor, ENCODE_FIELDS, indexOfNoId, requireTokenizer, SEQUENCE, type TextModel, toIds } from "./input.ts";
import type { KvCache } from "./kv-cache.ts";
import type { Runner, RunOptions } from "./runner.ts";

/** Options of `logProbs`. */
export interface LogProbsOptions {
  /** Prepend BOS to a text prompt; default: what the model's tokenizer does. */
  addBos?: boolean;
  /**
   * How a text answer becomes tokens. A tokenizer does not cut a text where prompt and answer meet: " Paris" after "is"
   * is one token for most, "Paris" after "is " is another, and some tokenizers give any text they see alone a space.
   *
   * - `joint` (default): prompt and answer are tokenized as one text and the answer has the tokens after the prompt's.
   *   When the prompt's own tokens come out different that way, the answer is no continuation of it, and it is an error;
   *   almost always a space at the end of the prompt belongs to the beginning of the answer.
   * - `separate`: the answer is tokenized alone, without BOS. Always so when the prompt is given as ids.
   */
  tokenization?: "joint" | "separate";
  /** Ends the call with `signal.reason`, before the next pass. */
  signal?: AbortSignal;
}

export const LOG_PROBS_FIELDS = {
  ...ENCODE_FIELDS,
  tokenization: s.oneOf("joint", "separate"),
  signal: s.signal,
} as const;

export const LOG_PROBS_OPTIONS = s.object<LogProbsOptions>("the options of logProbs", LOG_PROBS_FIELDS);

/** The answers of `logProbs`. */
export const ANSWERS = s.list("texts or lists of token ids", SEQUENCE);

/** How likely an answer is after a prompt. */
export interface AnswerLogProb {
  /** Natural logarithm of the probability that the answer follows the prompt. */
  logProb: number;
  /** exp(logProb). */
  probability: number;
  /** The answer's token ids. */
  tokens: number[];
  /** log p(token | prompt, tokens before) of each. */
  tokenLogProbs: number[];
}

/** Logits held at a time; longer lists of answers take more than one pass. */
export const LOGIT_BYTES_PER_PASS = 256 << 20;

/** A token whose log probability is wanted, and the row of logits that predicts it. */
export type Entry = readonly [row: number, token: number];

/** See `Model.logProbs`. */
export async function answerLogProbs(
  model: Runner,
  prompt: string | readonly number[],
  answers: readonly (string | readonly number[])[],
  options: LogProbsOptions = {},
): Promise<AnswerLogProb[]> {
  const { promptIds, tokens } = answerTokens(model, prompt, answers, options);
  if (tokens.length === 0) return [];
  const groups = groupsOf(model, tokens);
  const suffixes = groups.map((group) => group.reduce((sum, index) => sum + (tokens[index] as number[]).length - 1, 0));
  using kv = model.createKvCache({ capacity: promptIds.length + Math.max(0, ...suffixes) });
  const firsts = tokens.map((list): Entry => [0, list[0] as number]);
  const { signal } = options;
  const first = await selectedLogProbs(model, [promptIds], firsts, { kv, logits: "last", signal });
  const parts = tokens.map((_, index) => [first[index] as number]);
  for (const group of groups) {
    const lists = group.map((index) => tokens[index] as number[]);
    const rest = await continuations(model, kv, lists, signal);
    for (const [row, index] of group.entries()) parts[index]?.push(...(rest[row] as number[]));
  }
  return tokens.map((list, index) => toAnswer(list, parts[index] as number[]));
}

/**
 * Token ids of the prompt and of each answer, checked: all that can be known of a call without weights.
 * @throws InputError as `Model.logProbs`
 */
export function answerTokens(
  model: TextModel & Pick<Runner, "spec">,
  prompt: string | readonly number[],
  answers: readonly (string | readonly number[])[],
  options: LogProbsOptions,
): { promptIds: number[]; tokens: number[][] } {
  const { spec } = model;
  assertCausal(spec, "The probability of an answer");
  const { addBos } = options;
  if (typeof prompt !== "string" && options.tokenization === "joint")
    s.refuseIdle("logProbs", "tokenization", "where the prompt is ids: answers are tokenized alone");
  const promptIds = toIds(prompt, model, bosFor({ addBos }))[0] as number[];
  assertRunnable(spec, [promptIds]);
  const tokens = answers.map((answer, index) => answerIds(model, prompt, promptIds, answer, index, options));
  for (const [index, ids] of tokens.entries()) checkAnswer(model, ids, index, promptIds.length);
  return { promptIds, tokens };
}

function toAnswer(tokens: number[], tokenLogProbs: number[]): AnswerLogProb {
  const logProb = tokenLogProbs.reduce((sum, value) => sum + value, 0);
  return { logProb, probability: Math.exp(logProb), tokens, tokenLogProbs };
}

/** Answers of more than one token, in groups whose logits fit in `LOGIT_BYTES_PER_PASS`. */
function groupsOf(model: Runner, tokens: readonly number[][]): number[][] {
  const rowsAtOnce = LOGIT_BYTES_PER_PASS / 4 / model.spec.vocabSize;
  const groups: number[][] = [];
  let rows = Number.POSITIVE_INFINITY;
  tokens.forEach((list, index) => {
    if (list.length === 1) return;
    rows += list.length - 1;
    if (rows > rowsAtOnce) {
      groups.push([]);
      rows = list.length - 1;
    }
    groups.at(-1)?.push(index);
  });
  return groups;
}

/** Log probabilities of the tokens after the first of each answer, in one pass over forks of the prompt's cache. */
async function continuations(
  model: Runner,
  prompt: KvCache,
  answers: readonly number[][],
  signal: AbortSignal | undefined,
): Promise<number[][]> {
  using kv = prompt.fork(answers.map(() => 0));
  const inputs = answers.map((list) => list.slice(0, -1));
  const entries = answers.flatMap((list) => list.slice(1)).map((token, row): Entry => [row, token]);
  const values = [...(await selectedLogProbs(model, inputs, entries, { kv, signal }))];
  return inputs.map((list) => values.splice(0, list.length));
}

/** Runs `inputs` and returns the log probability of each entry; rows count through the selected logits. */
export async function selectedLogProbs(
  model: Runner,
  inputs: readonly number[][],
  entries: readonly Entry[],
  run: RunOptions,
): Promise<Float32Array> {
  const readbacks: Readback[] = [];
  const afterLogits = (recorder: Recorder, tensor: Tensor) => {
    readbacks.push(recorder.readback(recordLogProbs(recorder, tensor, entries)));
  };
  const result = await model.run(inputs, { ...run, afterLogits });
  result.destroy();
  return new Float32Array((readbacks[0] as Readback).bytes);
}

/**
 * Records the log-softmax of logits [rows, vocab] at `entries`, which are in order of row. Returns a temporary [entries].
 */
export function recordLogProbs(recorder: Recorder, logits: Tensor, entries: readonly Entry[]): Tensor {
  const [rowCount, vocab] = logits.shape as [number, number];
  const out = recorder.temp(entries.length);
  const normalizers = recorder.temp(rowCount, 2);
  const list = recorder.upload(Uint32Array.from(entries.flat()));
  let firstEntry = 0;
  for (const { first, rows, slice } of rowBlocks(recorder.gpu, packedView(logits, vocab), rowCount)) {
    const count = entries.filter(([row]) => row >= first && row < first + rows).length;
    recorder.dispatch(kernels.LOG_SUM_EXP, {
      params: { rowCount: rows, firstRow: first, vocab },
      buffers: { logits: slice, out: normalizers },
      workgroups: foldGrid(recorder.gpu, rows),
    });
    recorder.dispatch(kernels.LOG_PROB, {
      params: { count, firstEntry, firstRow: first, vocab },
      buffers: { entries: list, logits: slice, normalizers, out },
      workgroups: elementGrid(recorder, count),
    });
    firstEntry += count;
  }
  recorder.release(normalizers);
  return out;
}

function answerIds(
  model: TextModel,
  prompt: string | readonly number[],
  promptIds: readonly number[],
  answer: string | readonly number[],
  index: number,
  options: LogProbsOptions,
): number[] {
  if (typeof answer !== "string") return [...answer];
  const tokenizer = requireTokenizer(model, "Give the answers as token ids instead of text.");
  if (typeof prompt !== "string" || options.tokenization === "separate")
    return tokenizer.encode(answer, { addBos: false });
  const joint = tokenizer.encode(prompt + answer, { addBos: options.addBos });
  const differs = promptIds.findIndex((id, position) => joint[position] !== id);
  if (differs < 0) return joint.slice(promptIds.length);
  const expected = tokenizer.tokenText(promptIds[differs] as number);
  const found = differs < joint.length ? tokenizer.tokenText(joint[differs] as number) : "";
  throw new InputError(
    "input/answer-boundary",
    `Answer ${index} (${JSON.stringify(answer)}) changes the tokens of the prompt: token ${differs} is ${JSON.stringify(expected)} without it and ${JSON.stringify(found)} with it. ${boundaryRemedy(prompt, answer)}`,
  );
}

/** Where the space between prompt and answer may go instead; most tokenizers have it before a word, some behind. */
function boundaryRemedy(prompt: string, answer: string): string {
  const separate = 'set tokenization to "separate"';
  if (prompt.endsWith(" "))
    return `Move the space from the end of the prompt to the beginning of the answer, or ${separate}.`;
  if (answer.startsWith(" "))
    return `Move the space from the beginning of the answer to the end of the prompt, or ${separate}.`;
  return `${separate[0]?.toUpperCase()}${separate.slice(1)}.`;
}

function checkAnswer(model: Pick<Runner, "spec">, ids: readonly number[], index: number, promptLength: number): void {
  const { vocabSize, maxPositions } = model.spec;
  if (ids.length === 0) throw new InputError("input/empty-answer", `Answer ${index} has no tokens. Give at least one.`);
  const bad = indexOfNoId(ids, vocabSize);
  if (bad >= 0) {
    throw new InputError(
      "input/token-range",
      `Answer ${index} has token id ${String(ids[bad])}; ids of this model go from 0 to ${vocabSize - 1}.`,
    );
  }
  // The last token is only predicted, so it needs no position.
  if (promptLength + ids.length - 1 > maxPositions) {
    throw new InputError(
      "input/too-long",
      `Prompt and answer ${index} have ${promptLength + ids.length} tokens; the model has positions for ${maxPositions}. Shorten them.`,
    );
  }
}
