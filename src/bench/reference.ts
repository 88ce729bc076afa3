/**
 * The check that makes a figure worth printing: a fast kernel that computes something else must fail.
 *
 * The reference path takes every matmul by its definition, and looks inside every block, so that attention, norms and
 * MLPs run in their steps and not fused. It runs once for each sequence, outside the timing. What a run gave is compared
 * with it: logits number by number, decoded tokens by whether the reference would have chosen them.
 */
import { SuperlensError } from "../errors.ts";
import type { HookedModel } from "../hooks/index.ts";

/** Largest difference allowed, as a part of the largest logit: what hosts may differ by (docs/testing.md). */
export const TOLERANCE = 1e-4;

/** Points that cost matmuls of their own when they are looked at. */
const COSTLY = /hook_result$|^logits$/;

/** Reference logits of a model, each sequence computed once. */
export class Reference {
  #known = new Map<string, Promise<Float32Array>>();

  constructor(private readonly model: HookedModel) {}

  /** Logits [positions.length, vocabSize] at some positions of a sequence. */
  logits(ids: readonly number[], positions: readonly number[]): Promise<Float32Array> {
    const key = `${ids.join(",")} @ ${positions.join(",")}`;
    const known = this.#known.get(key) ?? referenceLogits(this.model, ids, positions);
    this.#known.set(key, known);
    return known;
  }
}

async function referenceLogits(
  model: HookedModel,
  ids: readonly number[],
  positions: readonly number[],
): Promise<Float32Array> {
  const capture = model.pointNames((name) => !COSTLY.test(name));
  const options = { capture, positions: [-1], logits: [...positions], kernels: "reference" } as const;
  using result = await model.forward([[...ids]], options);
  return await result.logits.read();
}

/**
 * The largest difference between logits, as a part of the largest expected.
 * @throws SuperlensError `bench/wrong-output` beyond `TOLERANCE`, or when a logit is no number.
 */
export function checkLogits(what: string, actual: Float32Array, expected: Float32Array): number {
  const largest = largestOf(expected);
  let difference = 0;
  for (let i = 0; i < expected.length; i++) {
    difference = Math.max(difference, Math.abs((actual[i] as number) - (expected[i] as number))); // NaN stays NaN
  }
  const error = difference / largest;
  if (error <= TOLERANCE) return error;
  throw wrong(`${what}: logits differ from the reference kernels' by ${error.toExponential(1)} of the largest`);
}

/**
 * Compares tokens that were decoded greedily with the reference's logits [tokens.length, vocabSize]. A token must be the
 * likeliest, or as likely as that within the tolerance. Returns the largest shortfall, as a part of the largest logit.
 * @throws SuperlensError `bench/wrong-output`
 */
export function checkGreedy(what: string, tokens: readonly number[], expected: Float32Array): number {
  const vocabSize = expected.length / tokens.length;
  let worst = 0;
  tokens.forEach((token, index) => {
    const row = expected.subarray(index * vocabSize, (index + 1) * vocabSize);
    const best = row.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
    const shortfall = (best - (row[token] as number)) / largestOf(row);
    if (!(shortfall <= TOLERANCE)) {
      const by = shortfall.toExponential(1);
      throw wrong(
        `${what}: token ${index} is ${token}, and the reference kernels prefer ${row.indexOf(best)} by ${by} of the largest logit`,
      );
    }
    worst = Math.max(worst, shortfall);
  });
  return worst;
}

function largestOf(values: Float32Array): number {
  return values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}

function wrong(what: string): SuperlensError {
  return new SuperlensError(
    "bench/wrong-output",
    `${what} (allowed: ${TOLERANCE}). Its speed means nothing. Do not trust this adapter, and report it with its driver.`,
  );
}
