/**
 * A side of the comparison: a model in one runtime, and the two things every side does. Both begin and end on the host: tokens
 * go in, and the side waits until the GPU is done.
 *
 * - **Prefill**: the prompt's 128 tokens, logits at all positions. They stay where the GPU left them.
 * - **Decode**: greedy, one token after another, behind a cache that holds the prompt. Each token is known on the host before
 *   the next begins.
 *
 * What is timed is never what is checked: the `…Logits` functions read everything back, the others only what they must.
 */
export interface Runtime {
  /** As the table names it. */
  name: string;
  /** How it was used, where there was a choice. */
  note: string;
  prefill(): Promise<void>;
  /** [128, vocabulary] */
  prefillLogits(): Promise<Float32Array>;
  /** The next tokens, as many as `steps`. */
  decode(steps: number): Promise<number[]>;
  /** [vocabulary], of the first token after the prompt. */
  decodeLogits(): Promise<Float32Array>;
  destroy(): Promise<void> | void;
}

/** The index of the largest number. */
export function argmax(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) {
    if ((values[i] as number) > (values[best] as number)) best = i;
  }
  return best;
}
