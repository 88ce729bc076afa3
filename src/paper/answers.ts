/**
 * Probabilities of whole answers, for many prompts at once. By the chain rule, log P(u_1 .. u_N | prompt) is the sum of
 * log P(u_j | prompt, u_1 .. u_(j-1)).
 *
 * A prompt runs once, in a batch with others. What its answers continue with are its stems: an answer without its last token.
 * Stems run on forks of the prompt's key-value cache, in one pass for the whole batch. Equal stems run once, and a stem that
 * begins another is a part of it: "forty-two" and "forty-five" cost what one of them costs.
 */
import { HookError, InputError, SuperlensError } from "../errors.ts";
import { MODEL } from "../hooks/call.ts";
import type { HookedModel } from "../hooks/index.ts";
import { SEQUENCE, type SequenceInput } from "../model/input.ts";
import {
  ANSWERS,
  answerTokens,
  type Entry,
  LOGIT_BYTES_PER_PASS,
  type LogProbsOptions,
  selectedLogProbs,
} from "../model/log-probs.ts";
import * as s from "../schema/schema.ts";
import { BATCH_TOKENS, type Next, nextTokens, rankOf } from "./next-token.ts";

/** A prompt and the answers whose probabilities are wanted. */
export interface AskedPrompt {
  prompt: SequenceInput;
  answers: readonly SequenceInput[];
}

export interface AnswerOptions extends LogProbsOptions {
  /** Called after each batch with the number of prompts so far, and of all. */
  onProgress?: (done: number, total: number) => void;
}

const ENCODING = { addBos: s.flag, tokenization: s.oneOf("joint", "separate") };

export const ANSWER_OPTIONS = s.object<AnswerOptions>("the options of answerProbabilities", {
  ...ENCODING,
  signal: s.signal,
  onProgress: s.callback,
});

const ASKED = s.list(
  "prompts with their answers",
  s.object<AskedPrompt, { prompt: string | readonly number[]; answers: (string | readonly number[])[] }>("a prompt", {
    prompt: s.required(SEQUENCE),
    answers: s.required(ANSWERS),
  }),
);

/** A token that may come next. */
export interface NextToken {
  token: number;
  /** Undefined for a model without a tokenizer. */
  text: string | undefined;
  probability: number;
}

/** An answer to a prompt. */
export interface AnswerProbability {
  /** Its token ids. */
  tokens: number[];
  /** Natural logarithm of the probability that it follows the prompt. */
  logProb: number;
  probability: number;
  /** How many tokens are likelier than its first. */
  rank: number;
}

/** What is known of a prompt's next tokens. */
export interface PromptProbabilities {
  /** In the order given. */
  answers: AnswerProbability[];
  /** 1 minus the probability of all answers. An answer that another one begins is counted with that one. */
  other: number;
  /** Of the next token, in nats. */
  entropy: number;
  /** The likeliest next token with which no answer begins. Undefined if every token begins one. */
  likeliestOther: NextToken | undefined;
  /**
   * Pairs of answers, by number, of which the first begins the second: "six" and "sixteen". The probability of the first includes
   * that of the second. Equal answers are a pair both ways.
   */
  prefixes: [shorter: number, longer: number][];
}

interface Tokens {
  readonly prompt: number[];
  readonly answers: readonly number[][];
}

/**
 * Probabilities of each prompt's answers.
 * @throws InputError as `Model.logProbs`, naming the prompt: `input/too-long`, `input/no-tokenizer`, `input/answer-boundary`;
 *   HookError `hook/unsupported` in a `withEdits` scope
 */
export async function answerProbabilities(
  model: HookedModel,
  prompts: readonly AskedPrompt[],
  options: AnswerOptions = {},
): Promise<PromptProbabilities[]> {
  s.readArgument(MODEL, model, "answerProbabilities", "model");
  const asked = s.readArgument(ASKED, prompts, "answerProbabilities", "prompts");
  const { signal, onProgress, ...encoding } = s.readOptions(ANSWER_OPTIONS, options, "answerProbabilities");
  if (model.standing.length > 0)
    throw new HookError(
      "hook/unsupported",
      "answerProbabilities does not apply the edits of withEdits(). Use the model without them.",
    );
  const tokens = asked.map(({ prompt, answers }, index) =>
    namingPrompt(index, () => {
      const { promptIds, tokens: ids } = answerTokens(model.base, prompt, answers, encoding);
      return { prompt: promptIds, answers: ids };
    }),
  );
  const found: PromptProbabilities[] = [];
  for (const batch of batchesOf(tokens, model.spec.vocabSize)) {
    signal?.throwIfAborted();
    found.push(...(await measureBatch(model, batch, signal)));
    onProgress?.(found.length, tokens.length);
  }
  return found;
}

/** Errors of one prompt's tokens say which prompt it was. */
function namingPrompt<T>(index: number, body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (!(error instanceof SuperlensError) || !error.code.startsWith("input/")) throw error;
    throw new InputError(error.code, `Prompt ${index}: ${error.message}`, { cause: error });
  }
}

/** Prompts in order, in batches whose tokens and logits stay within bounds; at least one a batch. */
function* batchesOf(prompts: readonly Tokens[], vocabSize: number): Generator<Tokens[]> {
  const mostRows = LOGIT_BYTES_PER_PASS / 4 / vocabSize;
  let batch: Tokens[] = [];
  let [tokens, rows] = [0, 0];
  for (const asked of prompts) {
    const ownRows = 1 + stemsOf(asked.answers).reduce((sum, stem) => sum + stem.length, 0);
    if (batch.length > 0 && (tokens + asked.prompt.length > BATCH_TOKENS || rows + ownRows > mostRows)) {
      yield batch;
      [batch, tokens, rows] = [[], 0, 0];
    }
    batch.push(asked);
    tokens += asked.prompt.length;
    rows += ownRows;
  }
  if (batch.length > 0) yield batch;
}

const begins = (start: readonly number[], whole: readonly number[]) =>
  start.length <= whole.length && start.every((id, index) => whole[index] === id);

/** Answers without their last tokens, each that begins no other. */
function stemsOf(answers: readonly (readonly number[])[]): number[][] {
  const longestFirst = answers.map((answer) => answer.slice(0, -1)).sort((a, b) => b.length - a.length);
  const stems: number[][] = [];
  for (const stem of longestFirst) if (stem.length > 0 && !stems.some((other) => begins(stem, other))) stems.push(stem);
  return stems;
}

async function measureBatch(
  model: HookedModel,
  batch: readonly Tokens[],
  signal: AbortSignal | undefined,
): Promise<PromptProbabilities[]> {
  const stems = batch.map(({ answers }) => stemsOf(answers));
  const capacity = batch.reduce(
    (sum, { prompt }, index) => sum + prompt.length + (stems[index] as number[][]).flat().length,
    0,
  );
  using kv = model.createKvCache({ sequences: batch.length, capacity });
  const { vocabSize } = model.spec;
  const next = await model.base.run(
    batch.map(({ prompt }) => prompt),
    { kv, logits: "last", signal },
  );
  using _logits = next;
  const logits = await next.tensor.read();
  const later = await laterLogProbs(model, batch, stems, kv, signal);
  return batch.map(({ answers }, index) => {
    const first = nextTokens(logits.subarray(index * vocabSize, (index + 1) * vocabSize));
    return summed(model, answers, first, later[index] as number[]);
  });
}

/** For each prompt the log probability of each answer's tokens after its first, in sum. */
async function laterLogProbs(
  model: HookedModel,
  batch: readonly Tokens[],
  stems: readonly number[][][],
  kv: ReturnType<HookedModel["createKvCache"]>,
  signal: AbortSignal | undefined,
): Promise<number[][]> {
  const sums = batch.map(({ answers }) => answers.map(() => 0));
  const inputs = stems.flat();
  if (inputs.length === 0) return sums;
  const wanted: { entry: Entry; prompt: number; answer: number }[] = [];
  let firstRow = 0;
  for (const [prompt, list] of stems.entries()) {
    const starts = list.map((stem) => {
      firstRow += stem.length;
      return firstRow - stem.length;
    });
    for (const [answer, ids] of (batch[prompt] as Tokens).answers.entries()) {
      const start = starts[list.findIndex((stem) => begins(ids.slice(0, -1), stem))] as number;
      for (let at = 1; at < ids.length; at++)
        wanted.push({ entry: [start + at - 1, ids[at] as number], prompt, answer });
    }
  }
  wanted.sort((a, b) => a.entry[0] - b.entry[0]);
  using forks = kv.fork(stems.flatMap((list, prompt) => list.map(() => prompt)));
  const entries = wanted.map(({ entry }) => entry);
  const values = await selectedLogProbs(model.base, inputs, forks, "all", entries, signal);
  for (const [index, { prompt, answer }] of wanted.entries())
    (sums[prompt] as number[])[answer] = ((sums[prompt] as number[])[answer] as number) + (values[index] as number);
  return sums;
}

function summed(
  model: HookedModel,
  answers: readonly number[][],
  next: Next,
  later: readonly number[],
): PromptProbabilities {
  const { logProbs, entropy } = next;
  const measured = answers.map((tokens, index): AnswerProbability => {
    const first = tokens[0] as number;
    const logProb = (logProbs[first] as number) + (later[index] as number);
    return { tokens, logProb, probability: Math.exp(logProb), rank: rankOf(next, first) };
  });
  const prefixes = prefixesOf(answers);
  const isCounted = (index: number) =>
    !prefixes.some(
      ([shorter, longer]) =>
        longer === index &&
        (shorter < index || (answers[shorter] as number[]).length < (answers[index] as number[]).length),
    );
  const together = measured.reduce((sum, { probability }, index) => sum + (isCounted(index) ? probability : 0), 0);
  return {
    answers: measured,
    other: 1 - together,
    entropy,
    likeliestOther: likeliestOther(model, answers, logProbs),
    prefixes,
  };
}

function prefixesOf(answers: readonly number[][]): [number, number][] {
  return answers.flatMap((shorter, i) =>
    answers.flatMap((longer, j): [number, number][] => (i !== j && begins(shorter, longer) ? [[i, j]] : [])),
  );
}

function likeliestOther(
  { tokenizer }: HookedModel,
  answers: readonly number[][],
  logProbs: Float64Array,
): NextToken | undefined {
  const firsts = new Set(answers.map(([id]) => id));
  let token = -1;
  for (const [id, value] of logProbs.entries())
    if (!firsts.has(id) && (token < 0 || value > (logProbs[token] as number))) token = id;
  if (token < 0) return undefined;
  return { token, text: tokenizer?.tokenText(token), probability: Math.exp(logProbs[token] as number) };
}
