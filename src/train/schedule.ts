/** The learning rate of each step: warm up, stay, come down. */
import * as s from "../schema/schema.ts";

/** Warm-up in steps, the decay as the last part of the run. */
export interface Schedule {
  /** The rate between warm-up and decay. */
  lr: number;
  /** Steps over which the rate rises linearly to `lr`. Default 0. */
  warmup?: number;
  /** The part of the steps, at the end, over which it falls linearly towards 0. Default 0. */
  decay?: number;
}

export const SCHEDULE = s.object<Schedule>("a schedule", {
  lr: s.required(s.positive),
  warmup: s.wholeFrom(0),
  decay: s.part,
});

/** The rate of step `step`, which counts from 1, of `steps`: lr * min(1, step / warmup) * min(1, (steps - step + 1) / (decay * steps)). */
export function learningRate({ lr, warmup = 0, decay = 0 }: Schedule, step: number, steps: number): number {
  const rise = warmup > 0 ? Math.min(1, step / warmup) : 1;
  const fall = decay > 0 ? Math.min(1, (steps - step + 1) / (decay * steps)) : 1;
  return lr * rise * fall;
}
