/**
 * Probabilities of whole answers, for many prompts at once. By the chain rule, log P(u_1 .. u_N | prompt) is the sum of
 * log P(u_j | prompt, u_1 .. u_(j-1)).
 *
 * A prompt runs once, in a batch with others. What its answers continue with are its stems: an answer without its last token.
 * Stems run on forks of the prompt's key-value cache, in one pass for the whole batch. Equal stems run once, and a stem that
 * begins another is a part of it: "forty-two" and "forty-five" cost what one of them costs.
 */
import { MODEL } from "../hooks/call.ts";
import { type CheckedEdit, EDITS } from "../hooks/edit.ts";
import type { Edit, HookedModel } from "../hooks/index.ts";
import { begins, prefixesOf, togetherOf } from "../model/answer-overlap.ts";
import { SEQUENCE, type SequenceInput } from "../model/input.ts";
import type { KvCache } from "../model/kv-cache.ts";
import { ANSWERS, answerTokens, type Entry, type LogProbsOptions, selectedLogProbs } from "../model/log-probs.ts";
import { LONG_CALL_FIELDS, type LongCallOptions, reportProgress } from "../model/long-call.ts";
import * as s from "../schema/schema.ts";
import { type Next, nextTokens, rankOf } from "./next-token.ts";
import { type BatchedPrompt, batchesOf, checkEdits, namingPrompt, passOptions } from "./passes.ts";

/** A prompt and the answers whose probabilities are wanted. */
export interface AskedPrompt {
  prompt: SequenceInput;
  answers: readonly SequenceInput[];
  /** Edits of this prompt, beside those of a `withEdits` view; they name no `batch`. */
  edits?: Edit | readonly Edit[];
}

/** Options of `answerProbabilities`. */
export interface AnswerOptions extends LogProbsOptions {
  /** Called after each batch with the number of prompts so far, and of all. It may be async: the call waits for it. */
  onProgress?: LongCallOptions["onProgress"];
}

const ENCODING = { addBos: s.flag, tokenization: s.oneOf("joint", "separate") };

export const ANSWER_OPTIONS = s.object<AnswerOptions>("the options of answerProbabilities", {
  ...ENCODING,
  ...LONG_CALL_FIELDS,
});

const ASKED = s.list(
  "prompts with their answers",
  s.object<
    AskedPrompt,
    { prompt: string | readonly number[]; answers: (string | readonly number[])[]; edits?: CheckedEdit[] }
  >("a prompt", { prompt: s.required(SEQUENCE), answers: s.required(ANSWERS), edits: EDITS }),
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

interface Tokens extends BatchedPrompt {
  readonly answers: readonly number[][];
  readonly stems: readonly number[][];
  readonly edits: readonly CheckedEdit[];
}

/**
 * Probabilities of each prompt's answers, under the edits of a `withEdits` view and each prompt's own. Those with positions, which
 * are the prompt's, are made in the prompt alone, the others in the answers' tokens too, as `generate` makes them.
 * @throws InputError as `Model.logProbs`, naming the prompt: `input/too-long`, `input/no-tokenizer`, `input/answer-boundary`;
 *   HookError `hook/unsupported` for an edit with `batch`, others as `forward`
 */
export async function answerProbabilities(
  model: HookedModel,
  prompts: readonly AskedPrompt[],
  options: AnswerOptions = {},
): Promise<PromptProbabilities[]> {
  s.readArgument(MODEL, model, "answerProbabilities", "model");
  const asked = s.readArgument(ASKED, prompts, "answerProbabilities", "prompts");
  const { signal, onProgress, ...encoding } = s.readOptions(ANSWER_OPTIONS, options, "answerProbabilities");
  model.assertOpen();
  const tokens = asked.map(({ prompt, answers, edits = [] }, index) =>
    namingPrompt(index, (): Tokens => {
      const { promptIds, tokens: ids } = answerTokens(model.base, prompt, answers, encoding);
      const stems = stemsOf(ids);
      return { prompt: promptIds, answers: ids, stems, edits, rows: 1 + stems.flat().length };
    }),
  );
  checkEdits("answerProbabilities", model, tokens);
  const found: PromptProbabilities[] = [];
  for (const batch of batchesOf(tokens, model.spec.vocabSize)) {
    signal?.throwIfAborted();
    found.push(...(await measureBatch(model, batch, signal)));
    await reportProgress({ onProgress, signal }, found.length, tokens.length);
  }
  return found;
}

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
  const inputs = batch.map(({ prompt }) => prompt);
  const capacity = batch.reduce((sum, { prompt, rows }) => sum + prompt.length + rows, 0);
  using kv = model.createKvCache({ sequences: batch.length, capacity });
  const { vocabSize } = model.spec;
  const edits = batch.map((prompt) => prompt.edits);
  const run = passOptions(model, "prompt", inputs, { kv, logits: "last", signal }, edits);
  using next = await model.base.run(inputs, run);
  const logits = await next.tensor.read();
  const later = await laterLogProbs(model, batch, kv, signal);
  return batch.map(({ answers }, index) => {
    const first = nextTokens(logits.subarray(index * vocabSize, (index + 1) * vocabSize));
    return summed(model, answers, first, later[index] as number[]);
  });
}

/** For each prompt the log probability of each answer's tokens after its first, in sum. */
async function laterLogProbs(
  model: HookedModel,
  batch: readonly Tokens[],
  kv: KvCache,
  signal: AbortSignal | undefined,
): Promise<number[][]> {
  const sums = batch.map(({ answers }) => answers.map(() => 0));
  const inputs = batch.flatMap(({ stems }) => stems);
  if (inputs.length === 0) return sums;
  const wanted: { entry: Entry; prompt: number; answer: number }[] = [];
  let firstRow = 0;
  for (const [prompt, { answers, stems }] of batch.entries()) {
    const starts = stems.map((stem) => {
      firstRow += stem.length;
      return firstRow - stem.length;
    });
    for (const [answer, ids] of answers.entries()) {
      const start = starts[stems.findIndex((stem) => begins(ids.slice(0, -1), stem))] as number;
      for (let at = 1; at < ids.length; at++)
        wanted.push({ entry: [start + at - 1, ids[at] as number], prompt, answer });
    }
  }
  wanted.sort((a, b) => a.entry[0] - b.entry[0]);
  using forks = kv.fork(batch.flatMap(({ stems }, prompt) => stems.map(() => prompt)));
  const edits = batch.flatMap((prompt) => prompt.stems.map(() => prompt.edits));
  const run = passOptions(model, "following", inputs, { kv: forks, logits: "all", signal }, edits);
  const values = await selectedLogProbs(
    model.base,
    inputs,
    wanted.map(({ entry }) => entry),
    run,
  );
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
  return {
    answers: measured,
    other: 1 - togetherOf(measured),
    entropy,
    likeliestOther: likeliestOther(model, answers, logProbs),
    prefixes: prefixesOf(answers),
  };
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
