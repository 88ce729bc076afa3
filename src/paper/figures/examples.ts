/**
 * How many examples a prompt has: the paper's twenty a task for a pretrained model, twenty in all for one that was trained here on
 * short sequences, and fewer where the model's context has no room for them.
 */
import { RandomStream } from "../../model/random.ts";
import { drawInputs } from "../draw.ts";
import { PaperError } from "../errors.ts";
import { exampleText } from "../prompts.ts";
import type { Subject } from "../subjects.ts";
import type { Task, TaskFamily } from "../tasks/family.ts";
import { type FamilySet, taskFamily } from "../tasks/index.ts";
import { meanOf, setOf, spreadOf } from "./asking.ts";

/** Examples a prompt, by family. */
export type Examples = Readonly<Record<string, number>>;

/** A family with more tasks than this is asked three of them, drawn for each prompt. */
export const MOST_TASKS = 4;

const wanted = (set: FamilySet, tasks: number) => (set === "pretrained" ? 20 * tasks : 20);

/** How many tasks a prompt of all tasks has. */
export const tasksAtOnce = ({ tasks }: TaskFamily): number => (tasks.length > MOST_TASKS ? 3 : tasks.length);

/** Numbers of the first tasks, as many as a prompt of all tasks has. Figures that look inside a model ask these. */
export const firstTasks = (family: TaskFamily): number[] =>
  Array.from({ length: tasksAtOnce(family) }, (_, task) => task);

/**
 * Examples for prompts of each family.
 * @param tasksOf how many tasks a prompt has
 * @returns 0 for a family of which the context has no room for an example of each task
 * @throws PaperError `paper/prompt` where that is so of all
 */
export function examplesOf(
  subject: Subject,
  families: readonly string[],
  tasksOf: (family: TaskFamily) => number = tasksAtOnce,
): Examples {
  const set = setOf(subject);
  const found = families.map((name) => {
    const family = taskFamily(name, set);
    const tasks = tasksOf(family);
    const most = Math.min(wanted(set, tasks), roomFor(subject, family));
    return { name, tasks, most, examples: most < tasks ? 0 : most };
  });
  if (found.every(({ examples }) => examples === 0))
    throw new PaperError(
      "paper/prompt",
      `${subject.model.label} has positions for ${subject.model.spec.maxPositions} tokens, which is too few for an example of each task: they hold ${found.map(({ name, tasks, most }) => `${most} of ${name}, which has ${tasks} tasks`).join("; ")}. Use a model with a longer context: --model.`,
    );
  return Object.fromEntries(found.map(({ name, examples }) => [name, examples]));
}

/** Says for which families the prompts are shorter than they should be; otherwise nothing. */
export function roomNote(set: FamilySet, examples: Examples, tasksOf = tasksAtOnce): string {
  const fewer = Object.entries(examples).flatMap(([name, count]) => {
    const most = wanted(set, tasksOf(taskFamily(name, set)));
    return count < most ? [`${count} instead of ${most} for ${name}${count === 0 ? ", which is left out" : ""}`] : [];
  });
  return fewer.length === 0 ? "" : ` The context had room for fewer examples: ${fewer.join("; ")}.`;
}

/** Lines that are drawn to see how long they are. */
const PROBES = 100;

/**
 * How many examples surely fit in the context. n lines have n * mean tokens, give or take sqrt(n) deviations; six of these are
 * exceeded once in a billion prompts. Counted for the task with the longest answers, since a prompt may have that one alone.
 */
function roomFor(subject: Subject, family: TaskFamily): number {
  const { maxPositions } = subject.model.spec;
  const probes = family.tasks.map((task) => lineLengths(subject, family, task));
  const longest = Math.max(...probes.flat());
  const most = probes.map((lengths) => {
    const [mean, deviation] = [meanOf(lengths), spreadOf(lengths)];
    // The query's line, the token that begins the prompt, and the line break after the answer.
    const room = maxPositions - longest - 2;
    const root = (-6 * deviation + Math.sqrt(36 * deviation ** 2 + 4 * mean * Math.max(0, room))) / (2 * mean);
    return Math.floor(root ** 2);
  });
  return Math.min(...most);
}

/** Tokens of each drawn line. */
function lineLengths({ model, vocabulary }: Subject, family: TaskFamily, task: Task): number[] {
  const random = RandomStream.fromSeed(0, 0);
  return Array.from({ length: PROBES }, () => {
    const inputs = drawInputs(random, family);
    const answer = task.answer(inputs);
    if (vocabulary) return vocabulary.inputIds(family, inputs).length + vocabulary.answerIds(answer).length;
    return (model.tokenizer?.encode(exampleText(family, inputs, answer), { addBos: false }) ?? []).length;
  });
}
