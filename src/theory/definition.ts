/** A task definition, as JSON has it. */
import type { TaskMap } from "./maps.ts";

/** Tasks that share a vocabulary and the form of their examples, as a JSON file has them. */
export interface TaskDefinition {
  name: string;
  description: string;
  /** The d tokens. Ids are their places in this list; the beginning-of-prompt token gets id d. */
  vocabulary: string[];
  /** The n slots of an example. The last one is the label. */
  slots: SlotDefinition[];
  /** How people write an example, such as `{a}+{b}={y}`: each slot once. Tokens with spaces between them if left out. */
  template?: string;
  /** The derived sum, needed if a task's source is `sum`. */
  sum?: SumDefinition;
  tasks: TaskEntry[];
}

/** One place of an example: a name, and the tokens that may stand there. */
export interface SlotDefinition {
  name: string;
  /** Tokens that may stand here; the whole vocabulary if left out. A task is defined on these tokens only. */
  tokens?: string[];
}

/** A sum that a task speaks of: slots whose tokens have integer values. */
export interface SumDefinition {
  /** Names of the slots that are added. */
  operands: string[];
  /** Integer value of each operand token; by default the token read as a decimal number. */
  values?: Record<string, number>;
}

/** One task: where its label comes from. */
export interface TaskEntry {
  name: string;
  /** `{ slot }`: the token there. `sum`: the derived sum, written as a decimal number. */
  source: { slot: string } | "sum";
  map: TaskMap;
}
