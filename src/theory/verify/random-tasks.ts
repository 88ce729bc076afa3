/** Repeatable randomness and random tasks, on which exactness is measured. */
import type { TaskDefinition, TaskEntry } from "../definition.ts";

/** mulberry32: uniform in [0, 1), from a 32-bit seed. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function shuffled<T>(items: readonly T[], random: () => number): T[] {
  return items
    .map((item) => ({ item, key: random() }))
    .sort((a, b) => a.key - b.key)
    .map(({ item }) => item);
}

/**
 * K random tasks over d tokens "0", "1", ...: random permutations of a random slot and, if `sums`, every third task a
 * random map of the sum of the first and last input. Small d makes overlaps and ties of answers common.
 */
export function randomTasks(d: number, n: number, K: number, random: () => number, sums = n > 2): TaskDefinition {
  const vocabulary = Array.from({ length: d }, (_, i) => String(i));
  const operands = vocabulary.slice(0, Math.ceil(d / 2));
  const slots = Array.from({ length: n }, (_, i) => ({ name: `s${i}`, tokens: sums ? operands : vocabulary }));
  const tasks = Array.from({ length: K }, (_, k): TaskEntry => {
    const answers = shuffled(vocabulary, random);
    const sum = sums && k % 3 === 2;
    const inputs = sum || !sums ? vocabulary.slice(0, sum ? 2 * operands.length - 1 : d) : operands;
    return {
      name: `task ${k}`,
      source: sum ? "sum" : { slot: `s${Math.floor(random() * (n - 1))}` },
      map: { pairs: inputs.map((input, i) => [input, answers[i] as string]) },
    };
  });
  const sum = { operands: ["s0", `s${n - 2}`] };
  return { name: "random", description: "random tasks", vocabulary, slots, tasks, ...(sums ? { sum } : {}) };
}
