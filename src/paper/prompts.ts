/**
 * Prompts to measure on: examples of one task or of several, mixed in exact numbers and in random order, and a query on which
 * the tasks differ. Prompt `index` follows from the seed and its number, so shards of a run draw the same prompts as the whole.
 */
import { RandomStream } from "../model/random.ts";
import * as s from "../schema/schema.ts";
import { drawInputs, shuffled } from "./draw.ts";
import { PaperError } from "./errors.ts";
import { FAMILY, type Task, type TaskFamily, taskIndex } from "./tasks/family.ts";
import { LINE_BREAK, VOCABULARY, type Vocabulary } from "./tasks/vocabulary.ts";

/** A prompt. Its tasks have roles 0, 1, ...: which task has which role may differ from prompt to prompt. */
export interface Prompt {
  readonly family: TaskFamily;
  /** The task of each role, as its number in the family. */
  readonly tasks: readonly number[];
  /** The part of the examples that each role has. */
  readonly shares: readonly number[];
  readonly examples: readonly { readonly inputs: readonly string[]; readonly role: number }[];
  readonly query: readonly string[];
  /** What each role's task answers to the query; all differ. */
  readonly answers: readonly string[];
}

/** Which prompts. */
export interface PromptOptions {
  /** Examples of each role. [20]: twenty of one task; [6, 14]: of two, six and fourteen. */
  counts: readonly number[];
  /** The tasks of the roles, by name or number; drawn for each prompt, all different, unless told. */
  tasks?: readonly (string | number)[];
  /** Number of prompts. */
  count: number;
  /** The number of the first; 0 unless told. */
  first?: number;
  /** Whether no example may have the query's inputs. Default true. */
  held?: boolean;
  /** Default 0. */
  seed?: number;
}

export const PROMPT = s.madeObject<Prompt>("a prompt, of evaluationPrompts()", "family", "tasks", "examples", "query");

export const PROMPT_OPTIONS = s.object<PromptOptions, PromptOptions>("the options of evaluationPrompts", {
  counts: s.required(s.list("numbers of examples", s.wholeFrom(0))),
  tasks: s.list(
    "names or numbers of tasks",
    s.byForm<string | number>("a name or a number", (value) => (typeof value === "string" ? s.text : s.wholeFrom(0))),
  ),
  count: s.required(s.wholeFrom(1)),
  first: s.wholeFrom(0),
  held: s.flag,
  seed: s.whole,
});

/** How many of `examples` each role gets, as near to `shares` (which sum to 1) as whole numbers go: [.3, .7] of 20 is [6, 14]. */
export function countsOf(shares: readonly number[], examples: number): number[] {
  s.readArgument(s.list("parts", s.part), shares, "countsOf", "shares");
  s.readArgument(s.wholeFrom(0), examples, "countsOf", "examples");
  let share = 0;
  let given = 0;
  return shares.map((part) => {
    share += part;
    const until = Math.round(share * examples);
    const count = until - given;
    given = until;
    return count;
  });
}

/** K equal shares. */
export function equalShares(tasks: number): number[] {
  const length = s.readArgument(s.wholeFrom(1), tasks, "equalShares", "tasks");
  return Array.from({ length }, () => 1 / tasks);
}

/**
 * Draws prompts.
 * @throws PaperError `paper/task` for an unknown task; `paper/prompt` for more roles than tasks, or tasks that agree on every query
 */
export function evaluationPrompts(family: TaskFamily, options: PromptOptions): Prompt[] {
  s.readArgument(FAMILY, family, "evaluationPrompts", "family");
  const read = s.readOptions(PROMPT_OPTIONS, options, "evaluationPrompts");
  const { counts, count, first = 0, seed = 0, held = true } = read;
  const tasks = read.tasks?.map((task) => taskIndex(family, task));
  const roles = counts.length;
  if (roles > family.tasks.length || (tasks && tasks.length !== roles))
    throw new PaperError(
      "paper/prompt",
      `${family.name} has ${family.tasks.length} tasks, and counts has ${roles} entries${tasks ? ` for ${tasks.length} tasks` : ""}. Give a count for each task that is wanted.`,
    );
  return Array.from({ length: count }, (_, index) => {
    // Streams that no training batch has.
    const random = RandomStream.fromSeed(seed, ~(first + index));
    return drawPrompt(random, family, counts, held, tasks ?? drawTasks(random, family, roles));
  });
}

function drawTasks(random: RandomStream, { tasks }: TaskFamily, roles: number): number[] {
  return shuffled(random, [...tasks.keys()]).slice(0, roles);
}

function drawPrompt(
  random: RandomStream,
  family: TaskFamily,
  counts: readonly number[],
  held: boolean,
  tasks: readonly number[],
): Prompt {
  const answersTo = (inputs: readonly string[]) => tasks.map((task) => (family.tasks[task] as Task).answer(inputs));
  const query = drawUntil(random, family, tasks, (inputs) => new Set(answersTo(inputs)).size === tasks.length);
  const roles = shuffled(
    random,
    counts.flatMap((count, role) => Array.from({ length: count }, () => role)),
  );
  const isHeld = (inputs: readonly string[]) => !held || inputs.some((input, index) => input !== query[index]);
  const examples = roles.map((role) => ({ inputs: drawUntil(random, family, tasks, isHeld), role }));
  const shares = counts.map((count) => count / roles.length);
  return { family, tasks, shares, examples, query, answers: answersTo(query) };
}

const MOST_DRAWS = 10_000;

function drawUntil(
  random: RandomStream,
  family: TaskFamily,
  tasks: readonly number[],
  accept: (inputs: readonly string[]) => boolean,
): string[] {
  for (let draw = 0; draw < MOST_DRAWS; draw++) {
    const inputs = drawInputs(random, family);
    if (accept(inputs)) return inputs;
  }
  const names = tasks.map((task) => family.tasks[task]?.name).join(", ");
  throw new PaperError("paper/prompt", `${family.name}: in ${MOST_DRAWS} draws no query on which ${names} all differ.`);
}

/** Token ids of a prompt, up to where the answer begins, for a model that was trained with the vocabulary. */
export function promptIds(vocabulary: Vocabulary, prompt: Prompt): number[] {
  s.readArgument(VOCABULARY, vocabulary, "promptIds", "vocabulary");
  const { family, examples, query, tasks } = s.readArgument(PROMPT, prompt, "promptIds", "prompt");
  const lines = examples.flatMap(({ inputs, role }) => [
    ...vocabulary.inputIds(family, inputs),
    ...vocabulary.answerIds(answerOf(family, tasks, role, inputs)),
  ]);
  return [vocabulary.bos, ...lines, ...vocabulary.inputIds(family, query)];
}

/** The same as text, for a model with a tokenizer; its answers are the prompt's, without a line break. */
export function promptText(prompt: Prompt): string {
  const { family, examples, query, tasks } = s.readArgument(PROMPT, prompt, "promptText", "prompt");
  const lines = examples.map(({ inputs, role }) => exampleText(family, inputs, answerOf(family, tasks, role, inputs)));
  return lines.join("") + inputText(family, query);
}

/** A prompt as a model reads it. */
export function promptInput(vocabulary: Vocabulary | undefined, prompt: Prompt): number[] | string {
  return vocabulary ? promptIds(vocabulary, prompt) : promptText(prompt);
}

/** A line of a prompt. */
export function exampleText(family: TaskFamily, inputs: readonly string[], answer: string): string {
  return inputText(family, inputs) + answer + LINE_BREAK;
}

const inputText = ({ inputs: slots }: TaskFamily, inputs: readonly string[]) =>
  inputs.map((input, index) => input + (slots[index]?.after ?? "")).join("");

function answerOf(family: TaskFamily, tasks: readonly number[], role: number, inputs: readonly string[]): string {
  return (family.tasks[tasks[role] as number] as Task).answer(inputs);
}
