/**
 * How far the predictions of two models of one vocabulary lie apart on a text: what quantising weights costs, or rounding, or
 * training. At each position both give a distribution over the next token; how far the second is from the first is its
 * Kullback-Leibler divergence, sum over t of p(t) (log p(t) - log q(t)), in nats.
 */
import { InputError } from "../errors.ts";
import { TOKEN_INPUT, type TokenInput, toIds } from "../model/input.ts";
import { type AbortOptions, LONG_CALL_FIELDS, type LongCallOptions, reportProgress } from "../model/long-call.ts";
import * as s from "../schema/schema.ts";
import { HookedModel } from "./hooked-model.ts";

/** What `compareModels` gives. */
export interface ModelComparison {
  /** Positions that were compared. */
  positions: number;
  /** Mean over the positions of the divergence of the second model's prediction from the first's, in nats. */
  kl: number;
  /** The largest. */
  largestKl: number;
  /** The share of positions at which both expect the same token most. */
  topAgreement: number;
}

export const COMPARE_MODELS_OPTIONS = s.object<LongCallOptions>("the options of compareModels", LONG_CALL_FIELDS);

const MODEL = s.instance("a loaded model", HookedModel);

/**
 * Compares the predictions of `other` with those of `reference` at every position of a text or a batch. Text is tokenized by
 * `reference`. Logits [positions, vocab] of both are read from the GPU: a sequence at a time.
 * @throws InputError `input/argument` for models of different vocabularies, and what `forward` throws
 */
export async function compareModels(
  reference: HookedModel,
  other: HookedModel,
  input: TokenInput,
  options: LongCallOptions = {},
): Promise<ModelComparison> {
  s.readArgument(MODEL, reference, "compareModels", "reference");
  s.readArgument(MODEL, other, "compareModels", "other");
  const call = s.readOptions(COMPARE_MODELS_OPTIONS, options, "compareModels");
  const ids = toIds(s.readArgument(TOKEN_INPUT, input, "compareModels", "input"), reference);
  const { vocabSize } = reference.spec;
  if (other.spec.vocabSize !== vocabSize) {
    throw new InputError(
      "input/argument",
      `compareModels: ${reference.label} has ${vocabSize} tokens and ${other.label} ${other.spec.vocabSize}. Compare models of one vocabulary.`,
    );
  }
  const each: { kl: number; agrees: boolean }[] = [];
  for (const [index, sequence] of ids.entries()) {
    const [expected, actual] = [await logitsOf(reference, sequence, call), await logitsOf(other, sequence, call)];
    for (let at = 0; at < expected.length; at += vocabSize)
      each.push(comparePosition(expected.subarray(at, at + vocabSize), actual.subarray(at, at + vocabSize)));
    await reportProgress(call, index + 1, ids.length);
  }
  return {
    positions: each.length,
    kl: each.reduce((sum, { kl }) => sum + kl, 0) / each.length,
    largestKl: each.reduce((most, { kl }) => Math.max(most, kl), 0),
    topAgreement: each.filter(({ agrees }) => agrees).length / each.length,
  };
}

async function logitsOf(model: HookedModel, ids: number[], { signal }: AbortOptions): Promise<Float32Array> {
  using logits = await model.base.forward(ids, { ...(signal && { signal }) });
  return await logits.read();
}

/** One position, in float64. A divergence that rounding makes negative is zero. */
function comparePosition(reference: Float32Array, other: Float32Array): { kl: number; agrees: boolean } {
  const [first, second] = [normalizer(reference), normalizer(other)];
  let kl = 0;
  for (let token = 0; token < reference.length; token++) {
    const logP = (reference[token] as number) - first.logSum;
    kl += Math.exp(logP) * (logP - (other[token] as number) + second.logSum);
  }
  return { kl: Math.max(0, kl), agrees: first.top === second.top };
}

/** The log of the sum of exp(logits), and the token with the largest. */
function normalizer(logits: Float32Array): { logSum: number; top: number } {
  let top = 0;
  for (let token = 1; token < logits.length; token++)
    if ((logits[token] as number) > (logits[top] as number)) top = token;
  const largest = logits[top] as number;
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - largest), 0);
  return { logSum: largest + Math.log(sum), top };
}
