/**
 * Claim 1: the model's next-token probabilities are the mixture p*, counted in integers. It is measured on random tasks of
 * many sizes, over prompts of every kind, in float32 on the GPU and in the float64 interpreter, with four layers and seven.
 */
import { buildSuperposition, type SuperpositionModel } from "../build.ts";
import { softmax } from "../mixture.ts";
import { inputIds } from "../observe.ts";
import { Oracle } from "../oracle.ts";
import type { Prompt, PromptIds } from "../prompts.ts";
import { promptOfTasks, type Random, samplePrompt, unexplainedPrompt } from "../sampling.ts";
import type { Program } from "../tasks.ts";
import { type Claim, claim, FLOAT32_BOUND, FLOAT64_BOUND } from "./claim.ts";
import type { Cell } from "./grids.ts";
import { randomTasks, seeded } from "./random-tasks.ts";
import { type Bench, errorOf, idsOf, onGpu, statesOf, worstOf } from "./subject.ts";

/** Kinds of prompts, taken in turn. */
const KINDS: readonly ((program: Program, m: number, random: Random) => Prompt)[] = [
  // A mixture with shares of very different size.
  (program, m, random) =>
    samplePrompt(
      program,
      m,
      random,
      program.tasks.map(() => random() ** 3),
    ),
  // An even mixture.
  (program, m, random) => samplePrompt(program, m, random),
  // A tie: every task equally often, as far as m allows.
  (program, m, random) =>
    promptOfTasks(
      program,
      Array.from({ length: m }, (_, j) => j % program.tasks.length),
      random,
    ),
  // One task alone.
  (program, m, random) =>
    promptOfTasks(program, new Array<number>(m).fill(Math.floor(random() * program.tasks.length)), random),
  // Half of the examples explained by no task.
  (program, m, random) => {
    const { examples, query } = samplePrompt(program, m, random);
    const noise = unexplainedPrompt(program, Math.floor(m / 2), random).examples;
    return { examples: [...noise, ...examples.slice(noise.length)], query };
  },
];

/** `count` prompts of all kinds. */
export function mixedPrompts({ program, examples }: SuperpositionModel, count: number, random: Random): PromptIds[] {
  const prompts = Array.from({ length: count }, (_, i) => {
    // Where the tasks answer every token, nothing is left that they do not explain.
    const kinds = program.tasks.length < program.vocabularySize ? KINDS : KINDS.slice(0, -1);
    return (kinds[i % kinds.length] as (typeof KINDS)[number])(program, examples, random);
  });
  return idsOf({ program, examples } as SuperpositionModel, prompts);
}

export async function* verifyExactness(bench: Bench): AsyncGenerator<Claim, void, undefined> {
  for (const cell of bench.grid.cells) yield* verifyCell(bench, cell);
}

async function* verifyCell(bench: Bench, cell: Cell): AsyncGenerator<Claim, void, undefined> {
  const { d, m, n, K } = cell;
  const random = seeded(1000 * d + m);
  const definition = randomTasks(d, n, K, random);
  const four = buildSuperposition(definition, { examples: m });
  const prompts = mixedPrompts(four, cell.prompts, random);
  const at = `d=${d} m=${m} n=${n} K=${K}`;
  const error = await onGpu(bench, four, (loaded) => errorOf(loaded, prompts));
  yield claim(
    "exactness",
    `${at}: |p - p*|, 4 layers, float32`,
    error,
    "<=",
    FLOAT32_BOUND,
    describePrompts(four, prompts),
  );

  const seven = buildSuperposition(definition, { examples: m, layers: 7 });
  const some = spread(prompts, cell.seven);
  const sevenError = await onGpu(bench, seven, (loaded) => errorOf(loaded, some));
  yield claim(
    "exactness",
    `${at}: |p - p*|, 7 layers, float32`,
    sevenError,
    "<=",
    FLOAT32_BOUND,
    `${some.length} prompts`,
  );

  const few = spread(prompts, cell.float64);
  const exact = statesOf(four, few).map(({ probabilities }) => probabilities);
  const inFour = inFloat64(bench, four, few);
  const inSeven = inFloat64(bench, seven, few);
  const note = `${few.length} prompts`;
  yield claim("exactness", `${at}: |p - p*|, 4 layers, float64`, worstOf(inFour, exact), "<=", FLOAT64_BOUND, note);
  yield claim("exactness", `${at}: 4 against 7 layers, float64`, worstOf(inFour, inSeven), "<=", FLOAT64_BOUND, note);
}

/** `count` of the prompts, so that every kind is among them (a stride that the number of kinds does not divide). */
function spread<T>(items: readonly T[], count: number): T[] {
  const stride = Math.floor(items.length / count);
  const step = stride % KINDS.length === 0 && stride > 1 ? stride - 1 : stride;
  return Array.from({ length: count }, (_, i) => items[i * step] as T);
}

function inFloat64({ signal }: Bench, model: SuperpositionModel, prompts: readonly PromptIds[]): Float64Array[] {
  const oracle = new Oracle(model.spec, model.weights);
  return prompts.map((prompt) => {
    signal?.throwIfAborted();
    return softmax(oracle.run(inputIds(model, prompt)));
  });
}

/** How many prompts there were, and how many of the awkward ones among them. */
function describePrompts(model: SuperpositionModel, prompts: readonly PromptIds[]): string {
  const states = statesOf(model, prompts);
  const count = (test: (state: (typeof states)[number]) => boolean) => states.filter(test).length;
  const repeats = (values: readonly number[]) => new Set(values).size < values.length;
  return [
    `${prompts.length} prompts`,
    `${count(({ counts }) => repeats(counts.filter((each) => each > 0)))} with ties`,
    `${count(({ overlapping }) => overlapping > 0)} with overlap`,
    `${count(({ unexplained }) => unexplained > 0)} with unexplained examples`,
  ].join(", ");
}
