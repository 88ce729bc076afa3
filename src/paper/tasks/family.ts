/**
 * Families of tasks: the same inputs, and several answers to them. A line of a prompt is an example, `2+5->seven`: each input
 * with what is written after it, then a task's answer.
 */
import * as s from "../../schema/schema.ts";
import { PaperError } from "../errors.ts";

/** One of the answers to a family's inputs. */
export interface Task {
  readonly name: string;
  /** The answer to inputs. */
  readonly answer: (inputs: readonly string[]) => string;
  /** All that it ever answers. */
  readonly answers: readonly string[];
}

/** What an input can be; each is as likely. */
export interface InputSlot {
  readonly values: readonly string[];
  /** What is written after it: `+`, `->`, or nothing. */
  readonly after: string;
}

/** Tasks on the same inputs, such as the sum and the difference of two numbers. */
export interface TaskFamily {
  readonly name: string;
  readonly inputs: readonly InputSlot[];
  /** Whether the inputs of an example all differ. */
  readonly isDistinct?: boolean;
  readonly tasks: readonly Task[];
}

export const FAMILY = s.madeObject<TaskFamily>("a family of tasks, of taskFamily()", "name", "inputs", "tasks");

/** A task whose answer is looked up in a table by a key that its inputs make. */
export function lookUp(
  name: string,
  table: ReadonlyMap<string, string>,
  key: (inputs: readonly string[]) => string,
): Task {
  return { name, answers: [...new Set(table.values())], answer: (inputs) => table.get(key(inputs)) as string };
}

/** Whole numbers `low` .. `high`, as text. */
export function numbers(low: number, high: number): string[] {
  return Array.from({ length: high - low + 1 }, (_, index) => String(low + index));
}

/** The sum of inputs that are numbers, as text. */
export const sumOf = (inputs: readonly string[]): string =>
  String(inputs.reduce((sum, input) => sum + Number(input), 0));

/** The number of a task, by number or name. @throws PaperError `paper/task` */
export function taskIndex({ name: family, tasks }: TaskFamily, task: string | number): number {
  const index = typeof task === "number" ? task : tasks.findIndex(({ name }) => name === task);
  if (tasks[index] !== undefined) return index;
  const names = tasks.map(({ name }) => name).join(", ");
  throw new PaperError("paper/task", `${family} has no task ${JSON.stringify(task)}. Its tasks are ${names}.`);
}
