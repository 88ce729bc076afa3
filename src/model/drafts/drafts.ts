/**
 * Drafts: several continuations of a prompt that grow side by side, a token a step. Each step continues every draft by the
 * likeliest tokens after it, scores what comes of that by the sum of log probabilities, and keeps the k best.
 *
 * Methods differ in who reads the newest tokens. Beam search runs one row a draft, each with keys and values of its own past.
 * Superposed decoding runs one row a prompt, whatever the number of its drafts. All else is here.
 */
import type { Tensor } from "../../gpu/tensor.ts";
import * as s from "../../schema/schema.ts";
import { assertCausal } from "../causality.ts";
import { assertIds, assertRunnable } from "../engine.ts";
import { bosFor, ENCODE_FIELDS, type TokenInput, toIds } from "../input.ts";
import { assertFits, KvCache } from "../kv-cache.ts";
import { LONG_CALL_FIELDS, type LongCallOptions, reportProgress } from "../long-call.ts";
import type { Runner } from "../runner.ts";
import { likeliest, logSoftmax } from "./log-softmax.ts";

/** How drafts are made. */
export interface DraftOptions extends LongCallOptions {
  /** How many are kept in each step. */
  drafts: number;
  /** Tokens of a draft at most. */
  maxNewTokens: number;
  /** Tokens that end a draft; default: the tokenizer's `eosIds`. */
  eos?: s.Indices;
  /** Prepend BOS to text; default: what the model's tokenizer does. */
  addBos?: boolean;
  /** What comes before the input in each sequence. It stays as it is, and n-grams do not see it. */
  kv?: KvCache;
}

export const DRAFT_FIELDS = {
  ...ENCODE_FIELDS,
  drafts: s.required(s.wholeFrom(1)),
  maxNewTokens: s.required(s.wholeFrom(1)),
  eos: s.indices,
  kv: s.instance("a KvCache, made by createKvCache()", KvCache),
  ...LONG_CALL_FIELDS,
} as const satisfies s.Fields<DraftOptions>;

/** A continuation of a prompt. */
export interface Draft {
  /** Its tokens, an end token included. */
  tokens: number[];
  /** Their text without special tokens. Undefined for a model without a tokenizer. */
  text: string | undefined;
  /** Sum of the log probabilities by which it was chosen. */
  score: number;
  /** Whether an end token ended it; otherwise `maxNewTokens` did. */
  ended: boolean;
}

/** The drafts of a prompt, the best first. */
export interface Drafts {
  drafts: Draft[];
  /** Rows that the model ran for them, after the prompt. */
  rows: number;
}

/** A draft while it grows. */
export interface Growing {
  readonly tokens: readonly number[];
  readonly score: number;
  readonly ended: boolean;
  /** Its number among the prompt's live drafts of the step before. */
  readonly parent: number;
}

/** Runs the newest tokens of drafts. */
export interface DraftReader {
  /** For each prompt, and for each of its live drafts, the log probabilities [vocab] of the next token. */
  next(live: readonly (readonly Growing[])[]): Promise<Float64Array[][]>;
  /** Rows that this takes for a prompt with so many live drafts. */
  rowsFor(live: number): number;
  destroy(): void;
}

/** What growing takes besides the options. */
export interface Method {
  /** Takes over the cache, which holds the prompts. */
  reader(kv: KvCache): DraftReader;
  /** What a token adds to the score of a draft, `before` being prompt and draft. */
  gain(logProb: number, before: readonly number[], token: number): number;
}

/** Prompts and settings that were checked. */
type CheckedOptions = s.Read<DraftOptions>;

/**
 * Grows the drafts of each prompt.
 * @throws InputError `input/empty`, `input/token-range`, `input/no-tokenizer`; `input/too-long` where prompt and longest draft do not
 *   fit; `input/not-causal`
 */
export async function growDrafts(
  model: Runner,
  input: TokenInput,
  options: CheckedOptions,
  method: Method,
): Promise<Drafts[]> {
  const { drafts: count, maxNewTokens, eos, signal } = options;
  assertCausal(model.spec, "Drafting");
  const prompts = toIds(input, model, bosFor(options));
  const ends = new Set(eos ?? model.tokenizer?.eosIds ?? []);
  checkDrafts(model, prompts, options);

  const continued = (prompt: number, { tokens, score }: Growing, next: Float64Array, parent: number): Growing[] =>
    likeliest(next, count).map((token) => ({
      tokens: [...tokens, token],
      score: score + method.gain(next[token] as number, [...(prompts[prompt] as number[]), ...tokens], token),
      ended: ends.has(token),
      parent,
    }));

  const kv = options.kv?.fork() ?? model.createKvCache({ sequences: prompts.length, capacity: prompts.flat().length });
  const reader = method.reader(kv);
  try {
    const first = await readNext(model, prompts, kv, { signal });
    let growing = first.map((next, prompt) => continued(prompt, ROOT, next, 0));
    const rows = prompts.map(() => 0);
    await reportProgress(options, 1, maxNewTokens);
    for (let step = 1; step < maxNewTokens; step++) {
      const live = growing.map((list) => list.filter(({ ended }) => !ended));
      if (live.every((list) => list.length === 0)) break;
      const next = await reader.next(live);
      growing = growing.map((list, prompt) => {
        const alive = live[prompt] as Growing[];
        rows[prompt] = (rows[prompt] as number) + reader.rowsFor(alive.length);
        const grown = alive.flatMap((draft, index) =>
          continued(prompt, draft, next[prompt]?.[index] as Float64Array, index),
        );
        return best([...list.filter(({ ended }) => ended), ...grown], count);
      });
      await reportProgress(options, step + 1, maxNewTokens);
    }
    return growing.map((list, prompt) => ({
      drafts: list.map((draft) => finished(model, draft)),
      rows: rows[prompt] as number,
    }));
  } finally {
    reader.destroy();
  }
}

const ROOT: Growing = { tokens: [], score: 0, ended: false, parent: 0 };

/** The best, in order; of equal ones the earlier. */
function best(drafts: readonly Growing[], count: number): Growing[] {
  return [...drafts].sort((a, b) => b.score - a.score).slice(0, count);
}

function finished({ tokenizer }: Runner, { tokens, score, ended }: Growing): Draft {
  return { tokens: [...tokens], text: tokenizer?.decode(tokens, { skipSpecial: true }), score, ended };
}

function checkDrafts(
  model: Runner,
  prompts: readonly number[][],
  { maxNewTokens, eos = [], kv }: CheckedOptions,
): void {
  const { spec } = model;
  if (kv) model.checkCache(kv, prompts);
  assertRunnable(spec, prompts);
  assertIds(spec, 0, eos);
  // The last token of a draft is only predicted.
  for (const [sequence, { length }] of prompts.entries())
    assertFits(spec, sequence, (kv?.lengths[sequence] ?? 0) + length + maxNewTokens - 1);
}

/** Runs `ids` and gives the log probabilities [vocab] after each sequence that has any. */
export async function readNext(
  model: Runner,
  ids: readonly (readonly number[])[],
  kv: KvCache,
  options: { signal?: AbortSignal | undefined; inputsEmbeds?: Tensor },
): Promise<Float64Array[]> {
  using run = await model.run(ids, { kv, logits: "last", ...options });
  const logits = await run.tensor.read();
  const { vocabSize } = model.spec;
  const rows = ids.filter(({ length }) => length > 0);
  return rows.map((_, row) => logSoftmax(logits.subarray(row * vocabSize, (row + 1) * vocabSize)));
}
