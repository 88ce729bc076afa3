/**
 * Task definitions: what a prompt looks like and what its tasks compute, as JSON.
 *
 * A task is (source, map): take the token in one slot of the example, or the sum of the operand slots, and look the
 * answer up. `compileTasks` checks the JSON and turns it into tables of token ids.
 */
import type { SumDefinition, TaskDefinition, TaskEntry } from "./definition.ts";
import { asDefinition } from "./definition-form.ts";
import { TheoryError } from "./errors.ts";
import { applyMap, isNamedMap, NAMED_MAPS, type TaskMap } from "./maps.ts";

/** A slot in a template, by name. */
export const PLACEHOLDER = /\{([^}]*)\}/g;

/** Name of the token that opens every prompt, and that the model predicts when no task explains the examples. */
export const BOS_TOKEN = "<bos>";

/** A task as a table: `map[i]` is the answer's token id for source direction i, or -1 where the task is undefined. */
export interface CompiledTask {
  name: string;
  source: "TOK" | "DER";
  /** The slot the source is read at: the task's own, or n - 2 for a sum (the first place that sees all inputs). */
  slot: number;
  /** `[d]`: by token id for TOK, by sum - low for DER. */
  map: Int32Array;
}

/** A sum as the construction uses it: by slots and token ids. */
export interface CompiledSum {
  /** Operand slots. */
  operands: number[];
  /** Value of each token id, null for a token that is no operand. */
  values: (number | null)[];
  /** Smallest and largest sum; DER direction t stands for the sum low + t. */
  low: number;
  high: number;
}

/** A definition with every word resolved to an id. This is the program that the transformer is built to run. */
export interface Program {
  definition: TaskDefinition;
  /** d, the number of tokens without BOS. */
  vocabularySize: number;
  /** n. */
  exampleLength: number;
  /** Id of BOS: d. */
  bos: number;
  tokenId: Map<string, number>;
  /** Token ids allowed in each slot. */
  slotTokens: number[][];
  sum: CompiledSum | null;
  tasks: CompiledTask[];
}

/**
 * Checks a definition and resolves its words.
 * Throws `theory/definition`, `theory/vocabulary` or `theory/sum`.
 */
export function compileTasks(definition: TaskDefinition): Program {
  asDefinition(definition, "compileTasks");
  checkForm(definition);
  const tokenId = indexVocabulary(definition.vocabulary);
  const slotTokens = definition.slots.map((slot) =>
    (slot.tokens ?? definition.vocabulary).map((token) => lookUp(tokenId, token, `slot "${slot.name}"`)),
  );
  const program: Program = {
    definition,
    vocabularySize: definition.vocabulary.length,
    exampleLength: definition.slots.length,
    bos: definition.vocabulary.length,
    tokenId,
    slotTokens,
    sum: definition.sum ? compileSum(definition.sum, definition, slotTokens) : null,
    tasks: [],
  };
  program.tasks = definition.tasks.map((task) => compileTask(task, program));
  return program;
}

function checkForm({ name, vocabulary, slots, template, tasks }: TaskDefinition): void {
  const fail = (what: string): never => {
    throw new TheoryError("theory/definition", `task definition "${name}": ${what}`);
  };
  if (!Array.isArray(vocabulary) || vocabulary.length < 1) fail("vocabulary must list at least one token");
  if (!Array.isArray(slots) || slots.length < 2) fail("slots must list at least one input and the label");
  if (!Array.isArray(tasks) || tasks.length < 1) fail("tasks must list at least one task");
  for (const [what, names] of [
    ["slot", slots.map((slot) => slot.name)],
    ["task", tasks.map((task) => task.name)],
  ] as const) {
    const twice = names.find((candidate, i) => names.indexOf(candidate) !== i);
    if (twice !== undefined) fail(`two ${what}s are called "${twice}"; rename one`);
  }
  const written = [...(template?.matchAll(PLACEHOLDER) ?? [])].map(([, slot]) => slot as string);
  const names = slots.map((slot) => slot.name);
  if (template !== undefined && written.toSorted().join("\n") !== names.toSorted().join("\n"))
    fail(`template "${template}" must have each slot once: ${names.map((slot) => `{${slot}}`).join(", ")}`);
}

function indexVocabulary(vocabulary: readonly string[]): Map<string, number> {
  const tokenId = new Map<string, number>();
  vocabulary.forEach((token, id) => {
    if (typeof token !== "string" || token === "" || token === BOS_TOKEN) {
      throw new TheoryError(
        "theory/vocabulary",
        `token ${id} is ${JSON.stringify(token)}; tokens are non-empty strings other than ${BOS_TOKEN}`,
      );
    }
    if (tokenId.has(token)) {
      throw new TheoryError(
        "theory/vocabulary",
        `token "${token}" is in the vocabulary twice, at ${tokenId.get(token)} and ${id}; remove one`,
      );
    }
    tokenId.set(token, id);
  });
  return tokenId;
}

function lookUp(tokenId: Map<string, number>, token: string, where: string): number {
  const id = tokenId.get(token);
  if (id !== undefined) return id;
  throw new TheoryError(
    "theory/vocabulary",
    `${where} uses "${token}", which is not in the vocabulary of ${tokenId.size} tokens; add it or change the map`,
  );
}

/** Index of an input slot; the label (the last slot) is no input. */
function inputSlot(definition: TaskDefinition, name: string, where: string): number {
  const inputs = definition.slots.slice(0, -1).map((slot) => slot.name);
  const slot = inputs.indexOf(name);
  if (slot >= 0) return slot;
  throw new TheoryError("theory/definition", `${where} reads slot "${name}"; input slots are ${inputs.join(", ")}`);
}

function compileSum(sum: SumDefinition, definition: TaskDefinition, slotTokens: number[][]): CompiledSum {
  const operands = sum.operands.map((name) => inputSlot(definition, name, "the sum"));
  if (operands.length === 0) throw new TheoryError("theory/sum", "the sum has no operands; name at least one slot");
  const values: (number | null)[] = definition.vocabulary.map(() => null);
  let low = 0;
  let high = 0;
  for (const slot of operands) {
    const inSlot = (slotTokens[slot] as number[]).map((id) => {
      const value = operandValue(sum, definition.vocabulary[id] as string, definition.slots[slot]?.name ?? "");
      values[id] = value;
      return value;
    });
    low += Math.min(...inSlot);
    high += Math.max(...inSlot);
  }
  const d = definition.vocabulary.length;
  if (high - low + 1 > d) {
    throw new TheoryError(
      "theory/sum",
      `sums run from ${low} to ${high}, ${high - low + 1} values, and a vocabulary of ${d} tokens gives ${d} ` +
        "directions; narrow the operands or add tokens",
    );
  }
  return { operands, values, low, high };
}

function operandValue(sum: SumDefinition, token: string, slot: string): number {
  const value = sum.values ? sum.values[token] : Number(token);
  if (value !== undefined && Number.isInteger(value)) return value;
  throw new TheoryError(
    "theory/sum",
    `operand slot "${slot}" allows "${token}", whose value is ${value}; give it an integer in sum.values`,
  );
}

function compileTask(task: TaskEntry, program: Program): CompiledTask {
  const { definition, vocabularySize, exampleLength } = program;
  const where = `task "${task.name}"`;
  const map = new Int32Array(vocabularySize).fill(-1);
  const source = task.source === "sum" ? "DER" : "TOK";
  const slot =
    task.source === "sum" ? exampleLength - 2 : inputSlot(definition, task.source.slot, `${where} (source.slot)`);
  const inputs = sourceTexts(program, source, slot, where);
  checkMap(task.map, new Set(inputs.values()), where);
  for (const [direction, text] of inputs) {
    const answer = applyMap(task.map, text);
    if (answer !== undefined) map[direction] = lookUp(program.tokenId, answer, `${where}, for input "${text}",`);
  }
  return { name: task.name, source, slot, map };
}

/** The texts a source can take, by source direction. */
function sourceTexts(program: Program, source: "TOK" | "DER", slot: number, where: string): Map<number, string> {
  if (source === "TOK") {
    const ids = program.slotTokens[slot] as number[];
    return new Map(ids.map((id) => [id, program.definition.vocabulary[id] as string]));
  }
  const { sum } = program;
  if (sum === null)
    throw new TheoryError("theory/definition", `${where} reads the sum; add "sum": { "operands": [...] }`);
  return new Map(attainableSums(program, sum).map((value) => [value - sum.low, String(value)]));
}

/** Every value the sum can take, ascending. */
function attainableSums({ slotTokens }: Program, { operands, values }: CompiledSum): number[] {
  let sums = new Set([0]);
  for (const slot of operands) {
    const next = new Set<number>();
    for (const id of slotTokens[slot] as number[]) for (const sum of sums) next.add(sum + (values[id] as number));
    sums = next;
  }
  return [...sums].sort((a, b) => a - b);
}

function checkMap(map: TaskMap, inputs: ReadonlySet<string>, where: string): void {
  if (typeof map === "string") {
    if (isNamedMap(map)) return;
    const names = Object.keys(NAMED_MAPS).join(", ");
    throw new TheoryError("theory/definition", `${where} uses the map "${map}"; named maps are ${names}`);
  }
  if ("plus" in map) return;
  const given = "table" in map ? Object.keys(map.table) : map.pairs.map(([input]) => input);
  const stray = given.find((input) => !inputs.has(input));
  if (stray === undefined) return;
  throw new TheoryError(
    "theory/vocabulary",
    `${where} maps "${stray}", which its source never is; sources are ${[...inputs].slice(0, 8).join(", ")}, ...`,
  );
}
