/**
 * Prompts that several figures ask: examples of all tasks of a family in equal parts, or of some that are drawn for each prompt. They
 * come in cells of twenty.
 */
import type { Cell } from "../figure.ts";
import { countsOf, equalShares, evaluationPrompts, type Prompt } from "../prompts.ts";
import type { Subject } from "../subjects.ts";
import type { TaskFamily } from "../tasks/family.ts";
import { type FamilySet, taskFamily } from "../tasks/index.ts";
import { factsOf, familiesOf, type SubjectFacts, setOf } from "./asking.ts";
import { type Examples, examplesOf, firstTasks, tasksAtOnce } from "./examples.ts";

export interface MixedSettings {
  readonly model: SubjectFacts;
  readonly set: FamilySet;
  readonly families: readonly string[];
  readonly examples: Examples;
  /** Of each kind. */
  readonly prompts: number;
  readonly seed: number;
}

/** Prompts of a cell. */
const BLOCK = 20;

/**
 * Of as many prompts of each family that the model can be asked and has room for.
 * @param tasksOf how many tasks a prompt has
 */
export async function settingsOf(
  subject: Subject,
  prompts: number,
  tasksOf?: (family: TaskFamily) => number,
): Promise<MixedSettings> {
  const examples = examplesOf(subject, familiesOf(subject), tasksOf);
  const families = Object.keys(examples).filter((name) => examples[name] !== 0);
  return { model: await factsOf(subject), set: setOf(subject), families, examples, prompts, seed: 0 };
}

export const mixedSettings = (subject: Subject, { quick }: { quick: boolean }): Promise<MixedSettings> =>
  settingsOf(subject, quick ? BLOCK : 5 * BLOCK);

/** The prompts of a family. */
export interface FamilyCell extends Cell {
  readonly family: string;
}

export const cellOfEach = ({ families }: MixedSettings): FamilyCell[] =>
  families.map((family) => ({ id: family, family }));

/** Prompts of a family that follow each other. */
export interface Block extends FamilyCell {
  readonly first: number;
  readonly count: number;
}

/** Blocks of the prompts of one kind, of which `name` tells what it is. */
export function blocksOf<Kind extends { readonly family: string }>(
  { prompts }: MixedSettings,
  name: string,
  kind: Kind,
): (Kind & Block)[] {
  return Array.from({ length: Math.ceil(prompts / BLOCK) }, (_, block) => ({
    ...kind,
    id: `${name}-${block}`,
    first: block * BLOCK,
    count: Math.min(BLOCK, prompts - block * BLOCK),
  }));
}

/** Whether prompts of all tasks have them all, each with the role of its number; otherwise their tasks are drawn. */
const isWhole = (family: TaskFamily) => tasksAtOnce(family) === family.tasks.length;

/** What the roles of a prompt of all tasks are called. */
export function roleNames(family: TaskFamily): string[] {
  if (isWhole(family)) return family.tasks.map(({ name }) => name);
  return Array.from({ length: tasksAtOnce(family) }, (_, role) => `role ${role + 1}`);
}

/** Which prompts of a family. */
export interface Mixed {
  readonly examples: number;
  readonly count: number;
  readonly seed: number;
  readonly first?: number;
  /** The role that has no examples. */
  readonly without?: number | undefined;
  /** Whether a family with more tasks than a prompt holds has others in each; if not, they are its first. */
  readonly areDrawn?: boolean;
}

/** Prompts of all tasks in equal parts, or of all but one, with as many examples and the same queries. */
export function mixedPrompts(family: TaskFamily, mixed: Mixed): Prompt[] {
  const { examples, count, seed, first = 0, without, areDrawn = false } = mixed;
  const roles = tasksAtOnce(family);
  const shares = without === undefined ? equalShares(roles) : equalShares(roles - 1).toSpliced(without, 0, 0);
  const tasks = areDrawn && !isWhole(family) ? undefined : firstTasks(family);
  return evaluationPrompts(family, {
    counts: countsOf(shares, examples),
    count,
    first,
    seed,
    ...(tasks && { tasks }),
  });
}

/** Those of a cell. */
export function blockPrompts(
  { set, seed, examples }: MixedSettings,
  { family, first, count }: Omit<Block, "id">,
  without?: number,
): Prompt[] {
  const own = { examples: examples[family] as number, count, seed, first, without, areDrawn: true };
  return mixedPrompts(taskFamily(family, set), own);
}

/** Prompts of `tasks` tasks, drawn for each. */
export function drawnPrompts(
  { set, seed }: MixedSettings,
  { family, first, count }: Omit<Block, "id">,
  tasks: number,
  examples: number,
): Prompt[] {
  const counts = countsOf(equalShares(tasks), examples);
  return evaluationPrompts(taskFamily(family, set), { counts, count, first, seed });
}
