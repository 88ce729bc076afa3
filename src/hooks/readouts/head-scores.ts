/**
 * Heads with a known job, found by where they look: at the previous token, at an earlier copy of the current token
 * (duplicate), or at the token after an earlier copy (induction: that token came next the last time).
 */
import { HookError, InputError } from "../../errors.ts";
import { isEmbeds, type ModelInput, TOKEN_INPUT, toIds } from "../../model/input.ts";
import { LONG_CALL_FIELDS, type LongCallOptions } from "../../model/long-call.ts";
import { RandomStream } from "../../model/random.ts";
import * as s from "../../schema/schema.ts";
import { readCall } from "../call.ts";
import type { HookedModel } from "../hooked-model.ts";
import { byHead, eachPattern, type LayerSums } from "./attention.ts";
import { checkTokens } from "./directions.ts";
import { chosenLayers } from "./source.ts";

/** What a head may attend to: the token before, earlier copies of the query's token, or the tokens that followed those. */
export type HeadKind = "previous" | "duplicate" | "induction";

/** A score for each head. */
export interface HeadScores {
  /** The layers that were scored. */
  layers: readonly number[];
  nHeads: number;
  /** [layers, heads], row-major. */
  values: Float32Array;
  /** @throws HookError for a head without a score. */
  at(layer: number, head: number): number;
  /** The `count` heads with the largest scores. */
  top(count?: number): { layer: number; head: number; score: number }[];
}

/** Options of `headScores`. */
export interface HeadScoreOptions extends LongCallOptions {
  /** Layers to score; all when absent. */
  layers?: s.Indices;
  /** Leave out attention to position 0, in numerator and denominator. */
  excludeFirst?: boolean;
  /** Leave out attention of each token to itself, in the same way. */
  excludeCurrent?: boolean;
  /** As for `attentionSummary`. */
  memoryBudget?: number;
}

export const HEAD_SCORE_OPTIONS = s.object<HeadScoreOptions>("the options of headScores", {
  layers: s.indices,
  excludeFirst: s.flag,
  excludeCurrent: s.flag,
  memoryBudget: s.positive,
  ...LONG_CALL_FIELDS,
});

const KIND = s.oneOf<HeadKind>("previous", "duplicate", "induction");

/**
 * The share of a head's attention that goes where a head of this kind looks, over all queries of the input:
 * sum(pattern * detection) / sum(pattern), averaged over the sequences. TransformerLens's `detect_head` with its measure
 * "mul" and its detection patterns, which are 1 for a query q and a key k where
 *
 * - `previous`: k = q - 1;
 * - `duplicate`: k < q and token k is token q;
 * - `induction`: 0 < k <= q and token k - 1 is token q.
 * @throws HookError for a kind or layer that does not exist; InputError as `Model.forward`.
 */
export async function headScores(
  model: HookedModel,
  input: ModelInput,
  kind: HeadKind,
  given: HeadScoreOptions = {},
): Promise<HeadScores> {
  const options = readCall("headScores", model, HEAD_SCORE_OPTIONS, given);
  s.readArgument(KIND, kind, "headScores", "kind");
  if (typeof input === "object" && input !== null && isEmbeds(input))
    throw new InputError(
      "input/no-tokens",
      "Head scores compare tokens; give text or token ids instead of inputsEmbeds.",
    );
  const ids = toIds(s.readArgument(TOKEN_INPUT, input, "headScores", "input"), model);
  return scoreLayers(model, ids, options, (part, nHeads) => {
    const sums = byHead(part, nHeads);
    const [matching, total] = [sums(kind), sums("total")];
    return Float64Array.from({ length: nHeads }, (_, head) =>
      mean(
        ids.map(
          (_, row) =>
            sumOf(matching, part, head, row, 0, part.queries) / sumOf(total, part, head, row, 0, part.queries),
        ),
      ),
    );
  });
}

/** Options of `repeatedRandomTokens`. */
export interface RandomTokensOptions {
  /** Chooses the tokens: the same seed, the same scores. Default 0. */
  seed?: number;
  /** Length of the random sequence, before it is repeated; default 50, or less where the context is short. */
  length?: number;
  /** How many sequences; default 4. */
  batch?: number;
  /** Token before the sequence; default the tokenizer's BOS, if there is one. `null`: none. */
  bos?: number | null;
  /** Ids to draw from: `from` up to, not including, `to`. The whole vocabulary when absent. */
  tokens?: { from: number; to: number };
}

/** The random sequences that scores are measured on, and which layers. */
export interface RepeatedTokensOptions extends RandomTokensOptions, LongCallOptions {
  /** Layers to score; all when absent. */
  layers?: s.Indices;
  /** As for `attentionSummary`. */
  memoryBudget?: number;
}

const RANDOM_TOKENS_FIELDS = {
  seed: s.whole,
  length: s.ranged("a whole number of at least 2"),
  batch: s.ranged("a whole number of at least 1"),
  bos: s.nullable(s.wholeFrom(0)),
  tokens: s.object("a range of ids", { from: s.required(s.whole), to: s.required(s.whole) }),
} as const satisfies s.Fields<RandomTokensOptions>;

export const RANDOM_TOKENS_OPTIONS = s.object<RandomTokensOptions>(
  "the options of random tokens",
  RANDOM_TOKENS_FIELDS,
);

export const REPEATED_TOKENS_OPTIONS = s.object<RepeatedTokensOptions>("the options of repeated tokens", {
  ...RANDOM_TOKENS_FIELDS,
  layers: s.indices,
  memoryBudget: s.positive,
  ...LONG_CALL_FIELDS,
});

/**
 * How much each head attends, from a token in the second copy of a random sequence, to the token after its first
 * occurrence: the mean of pattern[q, q - (length - 1)] over the second copy of [BOS] r r. Tokens of r are all different, so
 * nothing but the copy can be matched. The "prefix matching score" of Olsson et al. 2022 (In-context Learning and Induction
 * Heads), and the induction score of TransformerLens's demos.
 * @throws HookError for lengths and token ranges that cannot be; InputError for sequences longer than the context.
 */
export async function inductionScores(model: HookedModel, options: RepeatedTokensOptions = {}): Promise<HeadScores> {
  return repeatedScores("inductionScores", model, "induction", options);
}

/** The same with the first occurrence itself: the mean of pattern[q, q - length] over the second copy. */
export async function duplicateTokenScores(
  model: HookedModel,
  options: RepeatedTokensOptions = {},
): Promise<HeadScores> {
  return repeatedScores("duplicateTokenScores", model, "duplicate", options);
}

/** The same with the previous token: the mean of pattern[q, q - 1] over the second copy. */
export async function previousTokenScores(
  model: HookedModel,
  options: RepeatedTokensOptions = {},
): Promise<HeadScores> {
  return repeatedScores("previousTokenScores", model, "previous", options);
}

/** The sequences [BOS] r r that the scores are measured on. */
export function repeatedRandomTokens(model: HookedModel, options: RandomTokensOptions = {}): number[][] {
  return randomTokens(model, readCall("repeatedRandomTokens", model, RANDOM_TOKENS_OPTIONS, options));
}

function randomTokens({ spec, tokenizer }: HookedModel, options: RandomTokensOptions): number[][] {
  const bos = options.bos === undefined ? tokenizer?.bosId : (options.bos ?? undefined);
  const { from, to } = options.tokens ?? { from: 0, to: spec.vocabSize };
  const { seed = 0, batch = 4 } = options;
  if (bos !== undefined) checkTokens([bos], spec.vocabSize);
  if (!(from >= 0 && from < to && to <= spec.vocabSize)) {
    throw new HookError("hook/token-range", `tokens is ${from} to ${to}; it must lie within 0 to ${spec.vocabSize}.`);
  }
  const length = lengthOf(options, spec.maxPositions - (bos === undefined ? 0 : 1), to - from);
  if (!Number.isInteger(batch) || batch < 1)
    throw new HookError("hook/repeated-tokens", `batch is ${batch}; it must be a whole number from 1 on.`);
  return Array.from({ length: batch }, (_, row) => {
    const random = RandomStream.fromSeed(seed, row);
    const once = new Set<number>();
    while (once.size < length) {
      const token = from + Math.floor(random.next() * (to - from));
      if (token !== bos || to - from === length) once.add(token);
    }
    return [...(bos === undefined ? [] : [bos]), ...once, ...once];
  });
}

function lengthOf(options: RandomTokensOptions, context: number, choices: number): number {
  const most = Math.min(Math.floor(context / 2), choices);
  const length = options.length ?? Math.min(50, most);
  if (Number.isInteger(length) && length >= 2 && length <= most) return length;
  throw new HookError(
    "hook/repeated-tokens",
    `length is ${length}; it must be a whole number from 2 to ${most}: the context must hold it twice, and the range that many different tokens.`,
  );
}

async function repeatedScores(
  call: string,
  model: HookedModel,
  kind: HeadKind,
  given: RepeatedTokensOptions,
): Promise<HeadScores> {
  const options = readCall(call, model, REPEATED_TOKENS_OPTIONS, given);
  const ids = randomTokens(model, options);
  const total = (ids[0] as number[]).length;
  const length = Math.floor(total / 2);
  return scoreLayers(model, ids, options, (part, nHeads) => {
    const matching = byHead(part, nHeads)(kind);
    return Float64Array.from({ length: nHeads }, (_, head) =>
      mean(ids.map((_, row) => sumOf(matching, part, head, row, total - length, total) / length)),
    );
  });
}

async function scoreLayers(
  model: HookedModel,
  ids: number[][],
  { layers: chosen, ...options }: s.Read<HeadScoreOptions>,
  score: (part: LayerSums, nHeads: number) => Float64Array,
): Promise<HeadScores> {
  const { nHeads } = model.spec;
  const layers = chosenLayers(chosen, model.spec.nLayers - 1);
  const values = new Float32Array(layers.length * nHeads);
  await eachPattern(model, ids, layers, { topK: 0, ids, ...options }, (part, layer) => {
    values.set(score(part, nHeads), layers.indexOf(layer) * nHeads);
  });
  return scores(layers, nHeads, values);
}

function scores(layers: readonly number[], nHeads: number, values: Float32Array): HeadScores {
  const at = (layer: number, head: number) => {
    s.readArgument(s.whole, head, "HeadScores.at", "head");
    const index = layers.indexOf(layer);
    if (index >= 0 && head >= 0 && head < nHeads) return values[index * nHeads + head] as number;
    throw new HookError(
      "hook/head-range",
      `There is no score of head ${String(head)} in layer ${String(layer)}. Scored: layers ${layers.join(", ")}, heads 0 to ${nHeads - 1}.`,
    );
  };
  const top = (count = 10) =>
    [...values]
      .map((score, index) => ({ layer: layers[Math.floor(index / nHeads)] as number, head: index % nHeads, score }))
      .sort((a, b) => b.score - a.score)
      .slice(0, s.readArgument(s.wholeFrom(1), count, "HeadScores.top", "count"));
  return { layers, nHeads, values, at, top };
}

/** Sum over queries `start` to `end` of values [head, batch, query]. */
function sumOf(
  values: Float32Array,
  { batch, queries }: LayerSums,
  head: number,
  row: number,
  start: number,
  end: number,
): number {
  const base = (head * batch + row) * queries;
  let sum = 0;
  for (let query = start; query < end; query++) sum += values[base + query] as number;
  return sum;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
