/** What logits say of the next token, in doubles. */

/** The distribution of the next token. */
export interface Next {
  readonly logProbs: Float64Array;
  /** In nats. */
  readonly entropy: number;
}

/** The softmax of one row of logits [vocab]. */
export function nextTokens(logits: Float32Array): Next {
  const largest = logits.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY);
  const total = logits.reduce((sum, value) => sum + Math.exp(value - largest), 0);
  const logProbs = Float64Array.from(logits, (value) => value - largest - Math.log(total));
  const entropy = logProbs.reduce((sum, value) => (value > -700 ? sum - Math.exp(value) * value : sum), 0);
  return { logProbs, entropy };
}

/** How many tokens are likelier than `token`. */
export function rankOf({ logProbs }: Next, token: number): number {
  const own = logProbs[token] as number;
  return logProbs.reduce((count, value) => count + Number(value > own), 0);
}
