/** The distribution of the next token, in doubles. */
import { GpuError } from "../../errors.ts";

/**
 * log(exp(x_i) / sum of exp(x_j)) of one row of logits [vocab].
 * @throws GpuError `gpu/not-finite` where the largest logit is NaN or infinite
 */
export function logSoftmax(logits: Float32Array): Float64Array {
  const largest = logits.reduce((most, value) => (most > value ? most : value), Number.NEGATIVE_INFINITY);
  if (!Number.isFinite(largest))
    throw new GpuError(
      "gpu/not-finite",
      "Logits are NaN or infinite, so nothing is known of the next token. Load the model with checkFinite to find weights that are not finite.",
    );
  const total = logits.reduce((sum, value) => sum + Math.exp(value - largest), 0);
  return Float64Array.from(logits, (value) => value - largest - Math.log(total));
}

/** The `count` likeliest tokens, the likeliest first; of equal ones the lowest id. */
export function likeliest(logProbs: Float64Array, count: number): number[] {
  const best: number[] = [];
  const isBetter = (token: number, other: number) => (logProbs[token] as number) > (logProbs[other] as number);
  for (let token = 0; token < logProbs.length; token++) {
    if (best.length === count && !isBetter(token, best[count - 1] as number)) continue;
    let place = best.length;
    while (place > 0 && isBetter(token, best[place - 1] as number)) place -= 1;
    best.splice(place, 0, token);
    best.length = Math.min(best.length, count);
  }
  return best;
}
