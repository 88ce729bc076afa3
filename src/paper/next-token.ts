/** What logits say of the next token, in doubles. */
import { logSoftmax } from "../model/drafts/log-softmax.ts";

/** The distribution of the next token. */
export interface Next {
  readonly logProbs: Float64Array;
  /** In nats. */
  readonly entropy: number;
}

/** The softmax of one row of logits [vocab]. */
export function nextTokens(logits: Float32Array): Next {
  const logProbs = logSoftmax(logits);
  const entropy = logProbs.reduce((sum, value) => (value > -700 ? sum - Math.exp(value) * value : sum), 0);
  return { logProbs, entropy };
}

/** How many tokens are likelier than `token`. */
export function rankOf({ logProbs }: Next, token: number): number {
  const own = logProbs[token] as number;
  return logProbs.reduce((count, value) => count + Number(value > own), 0);
}
