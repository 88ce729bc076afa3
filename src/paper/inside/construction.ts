/**
 * The constructed transformer of `superlens/theory` as a subject of figures: built for a family of tasks, with the tokens of
 * its prompts. What it answers, and which head does what, is known exactly. So it is the control of figures that look inside.
 */
import type { Gpu } from "../../gpu/gpu.ts";
import { loadModel } from "../../hooks/index.ts";
import {
  type Blueprint,
  buildSuperposition,
  inMemory,
  type TaskDefinition,
  type TaskEntry,
} from "../../theory/index.ts";
import { PaperError } from "../errors.ts";
import type { Subject } from "../subjects.ts";
import { sumOf, type Task, type TaskFamily } from "../tasks/family.ts";
import { LINE_BREAK, Vocabulary } from "../tasks/vocabulary.ts";

export interface Construction extends Subject {
  readonly blueprint: Blueprint;
  readonly vocabulary: Vocabulary;
}

/** A model for prompts of exactly `examples` examples; the caller destroys it. @throws PaperError `paper/task` */
export async function constructionOf(family: TaskFamily, examples: number, gpu: Gpu): Promise<Construction> {
  const built = buildSuperposition(definitionOf(family), { examples });
  // Its beginning of a prompt is the token after all others.
  const vocabulary = new Vocabulary([...built.program.definition.vocabulary, LINE_BREAK]);
  return { model: await loadModel(inMemory(built), { gpu }), blueprint: built, vocabulary };
}

/** The family as the construction takes it: each task reads one input, or the sum of all. */
export function definitionOf({ name, inputs, tasks }: TaskFamily): TaskDefinition {
  const slots = inputs.map(({ values, after }, slot) => ({ name: `x${slot}`, tokens: values.map((x) => x + after) }));
  const answers = tasks.flatMap((task) => task.answers.map((answer) => answer + LINE_BREAK));
  const entries = tasks.map((task) => entryOf(name, task, inputs));
  const numberOf = new Map(inputs.flatMap(({ values, after }) => values.map((x) => [x + after, Number(x)] as const)));
  return {
    name,
    description: `the tasks of ${name}`,
    vocabulary: [...new Set([...slots.flatMap(({ tokens }) => tokens), ...answers])],
    slots: [...slots, { name: "y" }],
    ...(entries.some(({ source }) => source === "sum") && {
      sum: { operands: slots.map((slot) => slot.name), values: Object.fromEntries(numberOf) },
    }),
    tasks: entries,
  };
}

function entryOf(family: string, task: Task, slots: TaskFamily["inputs"]): TaskEntry {
  const all = combinations(slots.map(({ values }) => values));
  for (const [slot, { after }] of slots.entries()) {
    const pairs = tableOf(all, (inputs) => inputs[slot] + after, task);
    if (pairs) return { name: task.name, source: { slot: `x${slot}` }, map: { pairs } };
  }
  const pairs = tableOf(all, sumOf, task);
  if (pairs) return { name: task.name, source: "sum", map: { pairs } };
  throw new PaperError(
    "paper/task",
    `${family}: ${task.name} is neither of one input nor of their sum, so there is no construction of it.`,
  );
}

/** Pairs of key and answer, if the key decides the answer. */
function tableOf(
  all: readonly string[][],
  key: (inputs: string[]) => string,
  task: Task,
): [string, string][] | undefined {
  const table = new Map<string, string>();
  for (const inputs of all) {
    const [from, to] = [key(inputs), task.answer(inputs) + LINE_BREAK];
    if ((table.get(from) ?? to) !== to) return undefined;
    table.set(from, to);
  }
  return [...table];
}

function combinations(lists: readonly (readonly string[])[]): string[][] {
  return lists.reduce<string[][]>((all, list) => all.flatMap((begun) => list.map((value) => [...begun, value])), [[]]);
}
