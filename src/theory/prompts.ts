/** Prompts: m examples and a query, in words and as token ids. */
import * as s from "../schema/schema.ts";
import type { TaskDefinition } from "./definition.ts";
import { TheoryError } from "./errors.ts";
import { PLACEHOLDER, type Program } from "./tasks.ts";

/** Words: examples of n tokens (inputs, then the label) and a query of n - 1 inputs. */
export interface Prompt {
  examples: string[][];
  query: string[];
}

/** The same as token ids. */
export interface PromptIds {
  examples: number[][];
  query: number[];
}

const PROGRAM = s.madeObject<Program>("a program, made by compileTasks()", "definition", "tasks", "tokenId");
const WORDS = s.list("texts", s.text);
const PROMPT = s.object<Prompt>("a prompt", {
  examples: s.required(s.list("lists of texts", WORDS)),
  query: s.required(WORDS),
});

/**
 * BOS, the examples, the query, as token ids: what the model is run on, 1 + m n + n - 1 ids.
 * Throws `theory/prompt` unless there are exactly m examples of n tokens and a query of n - 1, all in the vocabulary.
 * Fewer than m is an error too: positions are learned for m examples, and the weights are shares of m.
 */
export function encodePrompt(program: Program, examples: number, prompt: Prompt): number[] {
  const { examples: groups, query } = promptIds(program, examples, prompt);
  return [program.bos, ...groups.flat(), ...query];
}

/** Checks a prompt as `encodePrompt` does and resolves its words. */
export function promptIds(program: Program, examples: number, given: Prompt): PromptIds {
  s.readArgument(PROGRAM, program, "promptIds", "program");
  s.readArgument(s.wholeFrom(1), examples, "promptIds", "examples");
  const prompt = s.readArgument(PROMPT, given, "promptIds", "prompt");
  const n = program.exampleLength;
  const count = prompt.examples.length;
  if (count !== examples) {
    const remedy =
      count > examples ? "drop some, or build the model for more" : "add some, or build the model for fewer";
    throw new TheoryError(
      "theory/prompt",
      `the prompt has ${count} ${count === 1 ? "example" : "examples"} and the model was built for exactly ${examples}; ${remedy}`,
    );
  }
  const ids = (tokens: readonly string[], expected: number, what: string): number[] => {
    if (tokens.length !== expected) {
      throw new TheoryError("theory/prompt", `${what} has ${tokens.length} tokens instead of ${expected}: ${tokens}`);
    }
    return tokens.map((token) => {
      const id = program.tokenId.get(token);
      if (id !== undefined) return id;
      throw new TheoryError(
        "theory/prompt",
        `${what} has the token "${token}", which is not among the ${program.vocabularySize} of "${program.definition.name}"`,
      );
    });
  };
  return {
    examples: prompt.examples.map((tokens, j) => ids(tokens, n, `example ${j}`)),
    query: ids(prompt.query, n - 1, "the query"),
  };
}

/** The inverse of `encodePrompt`. Throws `theory/prompt` unless the ids are BOS and 1 + m n + n - 1 long. */
export function decodePrompt(program: Program, examples: number, given: readonly number[]): Prompt {
  s.readArgument(PROGRAM, program, "decodePrompt", "program");
  s.readArgument(s.wholeFrom(1), examples, "decodePrompt", "examples");
  const ids = s.readArgument(s.list("token ids", s.wholeFrom(0)), given, "decodePrompt", "ids");
  const n = program.exampleLength;
  const expected = 1 + examples * n + n - 1;
  if (ids.length !== expected || ids[0] !== program.bos) {
    throw new TheoryError(
      "theory/prompt",
      `a prompt of ${examples} examples is BOS (${program.bos}) and ${expected - 1} more ids; ` +
        `got ${ids.length} ids, the first ${ids[0]}`,
    );
  }
  const words = ids.slice(1).map((id) => {
    const token = program.definition.vocabulary[id];
    if (token !== undefined) return token;
    throw new TheoryError(
      "theory/prompt",
      `token id ${id} is not in the vocabulary of ${program.vocabularySize} tokens`,
    );
  });
  const groups = Array.from({ length: examples + 1 }, (_, j) => words.slice(j * n, (j + 1) * n));
  return { examples: groups.slice(0, -1), query: groups.at(-1) as string[] };
}

/** How people write an example: the definition's template, or its tokens with spaces between them. */
function templateOf({ template, slots }: TaskDefinition): string {
  return template ?? slots.map(({ name }) => `{${name}}`).join(" ");
}

/** An example in the definition's template. A query leaves the label empty. */
export function formatExample(program: Program, given: readonly string[]): string {
  const { definition } = s.readArgument(PROGRAM, program, "formatExample", "program");
  const tokens = s.readArgument(WORDS, given, "formatExample", "tokens");
  const names = definition.slots.map(({ name }) => name);
  return templateOf(definition)
    .replace(PLACEHOLDER, (_, name: string) => tokens[names.indexOf(name)] ?? "")
    .trim();
}

/**
 * Reads a prompt as people write it: examples and then the query, separated by commas or line breaks (by line breaks alone
 * where template or tokens have commas), each in the definition's template with the query's label left out (or `?`).
 * `2+3->five, 1+1->dos, 3+4->` is one of `languages`.
 * Throws `theory/prompt` for an example that does not follow the template. Whether the words are tokens, and how many
 * examples there are, is for `promptIds` to check.
 */
export function parsePrompt(program: Program, given: string): Prompt {
  const { definition, exampleLength } = s.readArgument(PROGRAM, program, "parsePrompt", "program");
  const text = s.readArgument(s.text, given, "parsePrompt", "text");
  const hasCommas = [templateOf(definition), ...definition.vocabulary].some((part) => part.includes(","));
  const lines = text.split(hasCommas ? "\n" : /[,\n]/).map((line) => line.trim());
  const read = exampleReader(definition, hasCommas ? "line breaks" : "commas");
  const groups = lines.filter((line) => line !== "").map(read);
  const query = groups.pop() ?? [];
  const unlabelled = groups.findIndex((words) => words[exampleLength - 1] === "");
  if (unlabelled >= 0) {
    throw new TheoryError("theory/prompt", `example ${unlabelled} has no label; only the last one leaves it out`);
  }
  if (!["", "?", undefined].includes(query[exampleLength - 1])) {
    throw new TheoryError(
      "theory/prompt",
      `the prompt ends with "${query.join(" ")}"; leave the label of the last one out`,
    );
  }
  return { examples: groups, query: query.slice(0, exampleLength - 1) };
}

/** A reader of one line of a prompt: its words, slot by slot. */
function exampleReader(definition: TaskDefinition, separator: string): (line: string) => string[] {
  const template = templateOf(definition);
  const slots = definition.slots.map(({ name }) => name);
  const order = [...template.matchAll(PLACEHOLDER)].map(([, name]) => slots.indexOf(name as string));
  // Longer tokens first, so that "light red" is not read as "light". Words that are no tokens are for `promptIds` to name.
  const tokens = definition.vocabulary.toSorted((a, b) => b.length - a.length).map(escaped);
  const patterns = [linePattern(definition, tokens.join("|")), linePattern(definition, ".+?")];
  return (line) => {
    const found = patterns.map((pattern) => pattern.exec(line)).find((match) => match !== null);
    if (!found) {
      throw new TheoryError(
        "theory/prompt",
        `"${line}" is not written as ${template}; separate examples by ${separator}`,
      );
    }
    const words: string[] = [];
    order.forEach((slot, i) => {
      words[slot] = found[i + 1] ?? "";
    });
    return words;
  };
}

/** A line in the definition's template. Spaces are free but where they alone part two slots; the label may be missing. */
function linePattern(definition: TaskDefinition, word: string): RegExp {
  const label = definition.slots.at(-1)?.name;
  const parts = templateOf(definition).trim().split(PLACEHOLDER);
  const source = parts.map((part, i) => {
    if (i % 2 === 1) return part === label ? `(${word}|\\??)` : `(${word})`;
    if (part.trim() !== "") return `\\s*${escaped(part.trim())}\\s*`;
    if (part === "") return "";
    return parts[i + 1] === label || parts[i - 1] === label ? "(?:\\s+|(?=$)|(?<=^))" : "\\s+";
  });
  return new RegExp(`^${source.join("")}$`);
}

function escaped(literal: string): string {
  return literal.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

/** The source direction a task reads in these inputs: a token id, or sum - low for a sum; -1 if there is none. */
export function sourceDirection(program: Program, task: Program["tasks"][number], inputs: readonly number[]): number {
  if (task.source === "TOK") return inputs[task.slot] as number;
  const { sum } = program;
  if (sum === null) return -1;
  let total = 0;
  for (const slot of sum.operands) {
    const value = sum.values[inputs[slot] as number] ?? null;
    if (value === null) return -1;
    total += value;
  }
  return total >= sum.low && total <= sum.high ? total - sum.low : -1;
}

/** g_k(inputs): the answer's token id, or -1 where the task is undefined. */
export function answerOf(program: Program, task: Program["tasks"][number], inputs: readonly number[]): number {
  const direction = sourceDirection(program, task, inputs);
  return direction < 0 ? -1 : (task.map[direction] as number);
}
