/** Draws from a stream of random numbers, each equally likely. */
import type { RandomStream } from "../model/random.ts";
import type { TaskFamily } from "./tasks/family.ts";

/** A whole number from 0 to below `count`. */
export function below(random: RandomStream, count: number): number {
  return Math.floor(random.next() * count);
}

export function pick<T>(random: RandomStream, choices: readonly T[]): T {
  return choices[below(random, choices.length)] as T;
}

/** The same entries in another order (Fisher and Yates). */
export function shuffled<T>(random: RandomStream, entries: readonly T[]): T[] {
  const list = [...entries];
  for (let last = list.length - 1; last > 0; last--) {
    const other = below(random, last + 1);
    [list[last], list[other]] = [list[other] as T, list[last] as T];
  }
  return list;
}

/** Inputs of an example. */
export function drawInputs(random: RandomStream, { inputs, isDistinct }: TaskFamily): string[] {
  for (;;) {
    const drawn = inputs.map(({ values }) => pick(random, values));
    if (!isDistinct || new Set(drawn).size === drawn.length) return drawn;
  }
}
