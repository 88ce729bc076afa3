/** The learning rate of each step: warm up, stay, come down. */

/** Warm-up in steps, the decay as the last part of the run. */
export interface Schedule {
  /** The rate between warm-up and decay. */
  readonly lr: number;
  /** Steps over which the rate rises linearly to `lr`. Default 0. */
  readonly warmup?: number | undefined;
  /** The part of the steps, at the end, over which it falls linearly towards 0. Default 0. */
  readonly decay?: number | undefined;
}

/** The rate of step `step`, which counts from 1, of `steps`: lr * min(1, step / warmup) * min(1, (steps - step + 1) / (decay * steps)). */
export function learningRate({ lr, warmup = 0, decay = 0 }: Schedule, step: number, steps: number): number {
  const rise = warmup > 0 ? Math.min(1, step / warmup) : 1;
  const fall = decay > 0 ? Math.min(1, (steps - step + 1) / (decay * steps)) : 1;
  return lr * rise * fall;
}
