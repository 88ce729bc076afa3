/** Prompts of one to K tasks, and which tasks' answers are among the likeliest. Two figures ask these. */
import { likeliestLines } from "../lines.ts";
import { promptInput } from "../prompts.ts";
import type { Subject } from "../subjects.ts";
import type { TaskFamily } from "../tasks/family.ts";
import { ask } from "./asking.ts";
import { MOST_TASKS } from "./examples.ts";
import { type Block, drawnPrompts, type MixedSettings } from "./mixed.ts";

/** Prompts with so many tasks and examples. */
export interface Several extends Block {
  readonly tasks: number;
  readonly examples: number;
}

/** A prompt's tasks. Lists are by role. */
export interface Ranked {
  /** As numbers in the family. */
  readonly tasks: readonly number[];
  /** Whether a task's answer is among the K likeliest, for K tasks. */
  readonly inTop: readonly boolean[];
  /** Of the whole answer. */
  readonly probabilities: readonly number[];
}

/** 1 .. K. */
export const numbersOfTasks = ({ tasks }: TaskFamily): number[] =>
  Array.from({ length: Math.min(MOST_TASKS, tasks.length) }, (_, index) => index + 1);

/** What a cell showed. */
export async function rank(
  cell: Several,
  settings: MixedSettings,
  subject: Subject,
  signal: AbortSignal | undefined,
): Promise<Ranked[]> {
  const { tasks: count, examples } = cell;
  const prompts = drawnPrompts(settings, cell, count, examples);
  const measured = await ask(subject, prompts, signal, { wholeLines: true });
  const found = await likeliestLines(
    subject.model,
    subject.vocabulary,
    prompts.map((prompt) => promptInput(subject.vocabulary, prompt)),
    { enough: (lines) => lines.length >= count, ...(signal && { signal }) },
  );
  return prompts.map(({ tasks, answers }, index) => {
    const top = new Set(found[index]?.lines.slice(0, count).map(({ text }) => text));
    return {
      tasks,
      inTop: answers.map((answer) => top.has(answer)),
      probabilities: measured[index]?.probabilities ?? [],
    };
  });
}
