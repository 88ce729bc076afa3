/** Prompts worth showing: they mix several tasks in known shares, and no task can be mistaken for another. */
import { type Blueprint, type Prompt, promptIds } from "../../theory/index.ts";
import { runProgram } from "../../theory/mixture.ts";
import { promptOfCounts, unexplainedPrompt } from "../../theory/sampling.ts";
import { seeded as seededRandom } from "../../theory/verify/random-tasks.ts";

/** More draws than a clear prompt has ever taken; a model without one gets an unclear one. */
const MOST_DRAWS = 200;

/**
 * A prompt that mixes all tasks, the first (or, `reversed`, the last) most often, in shuffled order. If there is one, a
 * prompt is taken whose examples have one explanation each and whose query has a different answer from each task.
 */
export function mixedPrompt(blueprint: Blueprint, seed: number, reversed = false): Prompt {
  const { program, examples } = blueprint;
  const random = seededRandom(seed);
  const shares = sharesOf(program.tasks.length, examples);
  const counts = reversed ? shares.reverse() : shares;
  let prompt = promptOfCounts(program, counts, random);
  for (let draw = 0; draw < MOST_DRAWS && !isClear(blueprint, prompt); draw++)
    prompt = promptOfCounts(program, counts, random);
  return prompt;
}

/** A prompt whose examples no task explains. */
export function strangePrompt({ program, examples }: Blueprint, seed: number): Prompt {
  return unexplainedPrompt(program, examples, seededRandom(seed));
}

/** How often each task is shown: proportional to 1, 1/2, 1/3, ...; 6, 3, 2 and 1 of 12 for four tasks. */
function sharesOf(tasks: number, examples: number): number[] {
  const parts = Array.from({ length: tasks }, (_, k) => 1 / (k + 1));
  const total = parts.reduce((sum, part) => sum + part, 0);
  const counts = parts.map((part) => Math.round((part / total) * examples));
  const rest = examples - counts.reduce((sum, count) => sum + count, 0);
  counts[0] = Math.max(0, (counts[0] as number) + rest);
  return counts;
}

function isClear({ program, examples }: Blueprint, prompt: Prompt): boolean {
  const { overlapping, answers } = runProgram(program, promptIds(program, examples, prompt));
  return overlapping === 0 && !answers.includes(-1) && new Set(answers).size === answers.length;
}
