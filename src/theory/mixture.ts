/**
 * The program the transformer runs, written plainly: counts, shares, a mixture.
 *
 * `runProgram` computes every variable that the residual stream holds (DER, MATCH, WEIGHT, OUT) and the exact
 * next-token distribution. Each variable can be overridden, and later variables follow from it. Comparing the result with the
 * same override in the running model is an interchange intervention (Geiger et al. 2021, arXiv 2106.02997).
 *
 * An example that several tasks explain counts for each of them. Tasks that are undefined on the query answer nothing, and the
 * rest is normalised. If nothing is left (no task that explains an example answers the query), the whole mass is on BOS, which
 * stands for "no task".
 */
import { answerOf, type PromptIds, sourceDirection } from "./prompts.ts";
import type { Program } from "./tasks.ts";

/** Values of the program's variables that replace the computed ones. */
export interface Overrides {
  /** Derived direction (sum - low, or -1) of each example and, last, of the query. Undefined entries are computed. */
  derived?: readonly (number | undefined)[];
  /** `[K][m]` */
  match?: readonly (readonly boolean[])[];
  /** `[K]` */
  weight?: readonly number[];
}

export interface ProgramState {
  /** DER: sum - low for each example and, last, the query; -1 where the sum is undefined. */
  derived: number[];
  /** MATCH `[K][m]`: does the task explain the example? */
  match: boolean[][];
  /** c_k: how many examples task k explains. */
  counts: number[];
  /** WEIGHT `[K]`: c_k / m. */
  weight: number[];
  /** Each task's answer to the query, a token id, or -1 if undefined. */
  answers: number[];
  /** OUT `[d]`. */
  out: Float64Array;
  /** p* `[d + 1]`; the last entry is BOS, "no task". Sums to 1. */
  probabilities: Float64Array;
  /** Examples that no task explains, and that more than one does. */
  unexplained: number;
  overlapping: number;
}

/** Runs the program on a prompt, from exact integer counts unless `overrides` says otherwise. */
export function runProgram(program: Program, prompt: PromptIds, overrides: Overrides = {}): ProgramState {
  const groups = [...prompt.examples, prompt.query];
  const summing = program.tasks.find((task) => task.source === "DER");
  const derived = groups.map(
    (inputs, j) => overrides.derived?.[j] ?? (summing ? sourceDirection(program, summing, inputs) : -1),
  );
  const answer = (task: Program["tasks"][number], j: number): number => {
    if (task.source === "TOK") return answerOf(program, task, groups[j] as number[]);
    const direction = derived[j] as number;
    return direction < 0 ? -1 : (task.map[direction] as number);
  };
  const match =
    overrides.match?.map((row) => [...row]) ??
    program.tasks.map((task) => prompt.examples.map((tokens, j) => answer(task, j) === tokens.at(-1)));
  const counts = match.map((row) => row.filter(Boolean).length);
  const weight = overrides.weight ? [...overrides.weight] : counts.map((count) => count / prompt.examples.length);
  const answers = program.tasks.map((task) => answer(task, groups.length - 1));
  const explainers = prompt.examples.map((_, j) => match.filter((row) => row[j]).length);
  return {
    derived,
    match,
    counts,
    weight,
    answers,
    ...superpose(program, weight, answers),
    unexplained: explainers.filter((count) => count === 0).length,
    overlapping: explainers.filter((count) => count > 1).length,
  };
}

/** OUT = sum_k w_k [answer_k], and p* = OUT normalised. */
function superpose(
  program: Program,
  weight: readonly number[],
  answers: readonly number[],
): Pick<ProgramState, "out" | "probabilities"> {
  const out = new Float64Array(program.vocabularySize);
  const probabilities = new Float64Array(program.vocabularySize + 1);
  let total = 0;
  answers.forEach((token, k) => {
    if (token < 0) return;
    const share = weight[k] as number;
    out[token] = (out[token] as number) + share;
    total += share;
  });
  if (total > 0) probabilities.set(out.map((share) => share / total));
  else probabilities[program.bos] = 1;
  return { out, probabilities };
}

/** Softmax in float64: the model's probabilities from its logits. */
export function softmax(logits: ArrayLike<number>): Float64Array {
  const values = Float64Array.from(logits);
  const largest = values.reduce((most, value) => Math.max(most, value), -Infinity);
  const exponentials = values.map((value) => Math.exp(value - largest));
  const total = exponentials.reduce((sum, value) => sum + value, 0);
  return exponentials.map((value) => value / total);
}

/** max |p - q|, the measure of exactness used throughout. */
export function largestDifference(p: ArrayLike<number>, q: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < p.length; i++) largest = Math.max(largest, Math.abs((p[i] as number) - (q[i] as number)));
  return largest;
}
