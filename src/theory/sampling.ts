/** Made-up prompts: of given tasks, of random tasks, or of no task. All are drawn from a given source of randomness. */
import { TheoryError } from "./errors.ts";
import { answerOf, type Prompt } from "./prompts.ts";
import type { CompiledTask, Program } from "./tasks.ts";

/** Uniform in [0, 1). */
export type Random = () => number;

/**
 * A random prompt: each example's task is drawn with probability proportional to `shares` (uniform if left out).
 * See `promptOfTasks`.
 */
export function samplePrompt(
  program: Program,
  examples: number,
  random: Random,
  shares: readonly number[] = program.tasks.map(() => 1),
): Prompt {
  return promptOfTasks(
    program,
    Array.from({ length: examples }, () => pick(shares, random)),
    random,
  );
}

/** A prompt with so many examples of each task, in shuffled order. See `promptOfTasks`. */
export function promptOfCounts(program: Program, counts: readonly number[], random: Random): Prompt {
  const tasks = counts.flatMap((count, k) => new Array<number>(count).fill(k));
  return promptOfTasks(program, shuffled(tasks, random), random);
}

function shuffled<T>(items: readonly T[], random: Random): T[] {
  return items
    .map((item) => ({ item, key: random() }))
    .sort((a, b) => a.key - b.key)
    .map(({ item }) => item);
}

/**
 * A prompt whose example j shows task `tasks[j]`. Inputs are drawn uniformly from the slots' tokens until the task has
 * an answer; the query until some task answers it.
 */
export function promptOfTasks(program: Program, tasks: readonly number[], random: Random): Prompt {
  const examples = tasks.map((index) => {
    const task = program.tasks[index] as CompiledTask;
    const inputs = drawInputs(program, random, (candidate) => answerOf(program, task, candidate) >= 0);
    return inWords(program, [...inputs, answerOf(program, task, inputs)]);
  });
  return { examples, query: drawQuery(program, random) };
}

/**
 * A prompt whose labels no task explains: each is a token that the label slot allows and no task answers.
 * Throws `theory/definition` if the tasks answer every token whatever the inputs.
 */
export function unexplainedPrompt(program: Program, examples: number, random: Random): Prompt {
  const labels = program.slotTokens.at(-1) as number[];
  const drawn = Array.from({ length: examples }, () => {
    let wrong: number[] = [];
    const inputs = drawInputs(program, random, (candidate) => {
      const answers = program.tasks.map((task) => answerOf(program, task, candidate));
      wrong = labels.filter((label) => !answers.includes(label));
      return wrong.length > 0;
    });
    return inWords(program, [...inputs, wrong[Math.floor(random() * wrong.length)] as number]);
  });
  return { examples: drawn, query: drawQuery(program, random) };
}

function drawQuery(program: Program, random: Random): string[] {
  const someTaskAnswers = (inputs: number[]) => program.tasks.some((task) => answerOf(program, task, inputs) >= 0);
  return inWords(program, drawInputs(program, random, someTaskAnswers));
}

function inWords({ definition }: Program, ids: readonly number[]): string[] {
  return ids.map((id) => definition.vocabulary[id] as string);
}

const MOST_DRAWS = 10_000;

function drawInputs(program: Program, random: Random, accept: (inputs: number[]) => boolean): number[] {
  for (let draw = 0; draw < MOST_DRAWS; draw++) {
    const inputs = program.slotTokens
      .slice(0, -1)
      .map((tokens) => tokens[Math.floor(random() * tokens.length)] as number);
    if (accept(inputs)) return inputs;
  }
  throw new TheoryError("theory/definition", `no such inputs in ${MOST_DRAWS} draws; a task is almost undefined`);
}

function pick(shares: readonly number[], random: Random): number {
  let left = random() * shares.reduce((sum, share) => sum + share, 0);
  const found = shares.findIndex((share) => {
    left -= share;
    return left < 0;
  });
  return found < 0 ? shares.length - 1 : found;
}
