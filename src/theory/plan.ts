/** The numbers of a construction, checked once and passed to every part. */

import * as s from "../schema/schema.ts";
import { bitsFor } from "./codes.ts";
import { TheoryError } from "./errors.ts";
import { along, type Combination, ResidualLayout, type SpaceName } from "./spaces.ts";
import type { CompiledSum, CompiledTask, Program } from "./tasks.ts";

/** What a user chooses besides the tasks. */
export interface ConstructionOptions {
  /** m, the number of examples of every prompt. */
  examples: number;
  /** Heads per attention layer; by default as few as the tasks need, max(K, number of operands). */
  heads?: number;
  /** 4: attention and MLP both used in each layer. 7: one operation a layer, as the theorem is stated. */
  layers?: 4 | 7;
  /** Weight of a matching position bit. A power of two keeps position scores exact. */
  beta?: number;
  /** Weight of a matching answer; at most 2 beta. Near 4 beta, content outweighs position. */
  gamma?: number;
  /** Stands for infinity in logit(1) = B; log(0) is -2B, and the null's logit -B. */
  bound?: number;
}

export const CONSTRUCTION_OPTIONS = s.object<ConstructionOptions>("the options of buildSuperposition", {
  examples: s.required(s.ranged("a whole number of at least 1")),
  heads: s.ranged("a whole number"),
  layers: s.ranged("4 or 7"),
  beta: s.ranged("a positive number"),
  gamma: s.ranged("a positive number"),
  bound: s.ranged("a positive number"),
});

/** Constants that work in float32; measured in test/theory. */
export const DEFAULT_CONSTANTS = { beta: 32, gamma: 64, bound: 30 } as const;

/** How sharp attention is, and how large numbers may become, in a constructed model. */
export interface Constants {
  beta: number;
  gamma: number;
  bound: number;
}

/** A task as its heads see it: P_k row by row. */
export interface HeadTask {
  name: string;
  /** Subspace and slot x is read from. */
  source: SpaceName;
  slot: number;
  /** Row `answer` of P_k, as a functional on the source; rows that are all zero are left out. */
  rows: { answer: number; reads: Combination }[];
}

/** Everything the parts need to know. */
export interface Plan extends Constants {
  layout: ResidualLayout;
  /** d, n, m of the theorem; K is `tasks.length`. */
  vocabularySize: number;
  exampleLength: number;
  examples: number;
  /** Sizes of JB and IB. */
  exampleBits: number;
  slotBits: number;
  tasks: HeadTask[];
  /** An example counts as matched when y . P_k x exceeds this; 1/2 for one-hot vectors. */
  threshold: number;
  sum: CompiledSum | null;
}

/** The weights grow with m: 100 000 examples of the smallest preset take 2 GB. */
const MOST_EXAMPLES = 100_000;

/** Throws `theory/size` unless m is an integer from 1 to `MOST_EXAMPLES`. */
export function checkExamples(examples: number): void {
  if (Number.isInteger(examples) && examples >= 1 && examples <= MOST_EXAMPLES) return;
  throw new TheoryError(
    "theory/size",
    `the number of examples is ${examples}; it must be an integer of at least 1 and at most ${MOST_EXAMPLES}`,
  );
}

/** The constants asked for, the defaults elsewhere. Throws `theory/size` on a constant that is not positive. */
export function chooseConstants(asked: Partial<Constants>): Constants {
  const constants = {
    beta: asked.beta ?? DEFAULT_CONSTANTS.beta,
    gamma: asked.gamma ?? DEFAULT_CONSTANTS.gamma,
    bound: asked.bound ?? DEFAULT_CONSTANTS.bound,
  };
  for (const [name, value] of Object.entries(constants)) {
    if (Number.isFinite(value) && value > 0) continue;
    throw new TheoryError("theory/size", `${name} is ${value}; it must be a positive number`);
  }
  return constants;
}

/** Lays the residual stream out for a program. */
export function planConstruction(program: Program, options: ConstructionOptions): Plan {
  checkExamples(options.examples);
  const d = program.vocabularySize;
  const K = program.tasks.length;
  const exampleBits = bitsFor(options.examples + 1);
  const slotBits = bitsFor(program.exampleLength);
  const whole = { TOK: d, DER: d, OUT: d, LOG: d };
  const perTask = { MATCH: K, WEIGHT: K, LOGIT: K };
  const places = { ONE: 1, BOS: 1, COUNT: 1, ACC: 1, JB: exampleBits, IB: slotBits };
  return {
    ...chooseConstants(options),
    layout: new ResidualLayout({ ...whole, ...perTask, ...places }),
    vocabularySize: d,
    exampleLength: program.exampleLength,
    examples: options.examples,
    exampleBits,
    slotBits,
    tasks: program.tasks.map(headTask),
    threshold: 1 / 2,
    sum: program.sum,
  };
}

/** Row y of P_k is the sum of the source directions that map to y. */
function headTask({ name, source, slot, map }: CompiledTask): HeadTask {
  const rows = new Map<number, Combination>();
  map.forEach((answer, direction) => {
    if (answer >= 0) rows.set(answer, [...(rows.get(answer) ?? []), along(source, direction)]);
  });
  return { name, source, slot, rows: [...rows].map(([answer, reads]) => ({ answer, reads })) };
}

/** Heads the construction needs: one per task, and one per operand of the sum. */
export function headsNeeded(program: Program): number {
  return Math.max(program.tasks.length, program.sum?.operands.length ?? 0);
}

/** The head count to build, or `theory/heads` when fewer were asked for than needed. */
export function chooseHeads(needed: number, asked: number | undefined): number {
  if (asked === undefined) return needed;
  if (Number.isInteger(asked) && asked >= needed) return asked;
  throw new TheoryError(
    "theory/heads",
    `${needed} heads are needed (one per task, and one per operand of the sum), and ${asked} were allowed; ` +
      "drop tasks or allow more heads",
  );
}
