import { describe, expect, it } from "vitest";
import { buildSuperposition } from "../../src/theory/build.ts";
import type { TaskDefinition } from "../../src/theory/definition.ts";
import { arithmetic } from "../../src/theory/presets/arithmetic.ts";
import { loadPreset } from "../../src/theory/presets/index.ts";
import { decodePrompt, encodePrompt, formatExample, parsePrompt, promptIds } from "../../src/theory/prompts.ts";
import { samplePrompt } from "../../src/theory/sampling.ts";
import { compileTasks } from "../../src/theory/tasks.ts";
import { seeded } from "./helpers.ts";

const base: TaskDefinition = {
  name: "test",
  description: "",
  vocabulary: ["1", "2", "3", "4", "one"],
  slots: [{ name: "x", tokens: ["1", "2"] }, { name: "y" }],
  tasks: [{ name: "copy", source: { slot: "x" }, map: "identity" }],
};
const withMap = (map: unknown): TaskDefinition =>
  ({ ...base, tasks: [{ name: "t", source: { slot: "x" }, map }] }) as TaskDefinition;
const withSum = (sum: TaskDefinition["sum"], map: unknown = "identity"): TaskDefinition =>
  ({ ...base, sum, tasks: [{ name: "s", source: "sum", map }] }) as TaskDefinition;

describe("compiled tasks", () => {
  it.each([
    ["identity", ["1", "2"]],
    [{ plus: 2 }, ["3", "4"]],
    [{ plus: -1, modulo: 4 }, undefined],
    [{ plus: 1, modulo: 3 }, undefined],
    [{ table: { "1": "one" } }, ["one", undefined]],
    [{ pairs: [["2", "one"]] }, [undefined, "one"]],
  ] as const)("map %j", (map, answers) => {
    if (answers === undefined) {
      expect(() => compileTasks(withMap(map))).toThrow(/not in the vocabulary/);
      return;
    }
    const [task] = compileTasks(withMap(map)).tasks;
    const ids = answers.map((answer) => (answer === undefined ? -1 : base.vocabulary.indexOf(answer)));
    expect([...(task?.map ?? [])].slice(0, 2)).toEqual(ids);
    expect([...(task?.map ?? [])].slice(2)).toEqual([-1, -1, -1]);
  });

  it("index sums from the smallest one", () => {
    const program = compileTasks(withSum({ operands: ["x"] }));
    expect(program.sum).toMatchObject({ operands: [0], low: 1, high: 2 });
    expect([...(program.tasks[0]?.map ?? [])]).toEqual([0, 1, -1, -1, -1]);
  });
});

const bad: [what: string, code: string, message: RegExp, definition: TaskDefinition][] = [
  [
    "duplicate token",
    "theory/vocabulary",
    /"2" is in the vocabulary twice, at 1 and 2/,
    { ...base, vocabulary: ["1", "2", "2"] },
  ],
  ["empty token", "theory/vocabulary", /token 0 is ""/, { ...base, vocabulary: ["", "2"] }],
  ["BOS as a token", "theory/vocabulary", /<bos>/, { ...base, vocabulary: ["<bos>"] }],
  ["answer outside the vocabulary", "theory/vocabulary", /task "t", for input "1", uses "8"/, withMap({ plus: 7 })],
  ["answer of a table", "theory/vocabulary", /uses "five"/, withMap({ table: { "1": "five" } })],
  [
    "input that is never given",
    "theory/vocabulary",
    /maps "4", which its source never is/,
    withMap({ table: { "4": "1" } }),
  ],
  [
    "slot token outside",
    "theory/vocabulary",
    /slot "x" uses "9"/,
    { ...base, slots: [{ name: "x", tokens: ["9"] }, { name: "y" }] },
  ],
  ["unknown map", "theory/definition", /map "reverse"; named maps are identity/, withMap("reverse")],
  [
    "unknown slot",
    "theory/definition",
    /reads slot "z"/,
    { ...base, tasks: [{ name: "t", source: { slot: "z" }, map: "identity" }] },
  ],
  [
    "label as a source",
    "theory/definition",
    /reads slot "y"/,
    { ...base, tasks: [{ name: "t", source: { slot: "y" }, map: "identity" }] },
  ],
  [
    "two tasks of one name",
    "theory/definition",
    /two tasks are called "copy"/,
    { ...base, tasks: [...base.tasks, ...base.tasks] },
  ],
  ["no tasks", "theory/definition", /at least one task/, { ...base, tasks: [] }],
  ["no input slot", "theory/definition", /at least one input/, { ...base, slots: [{ name: "y" }] }],
  ["sum not declared", "theory/definition", /add "sum"/, withSum(undefined)],
  ["sum without operands", "theory/sum", /no operands/, withSum({ operands: [] })],
  [
    "operand without a value",
    "theory/sum",
    /allows "1", whose value is undefined/,
    withSum({ operands: ["x"], values: {} }),
  ],
  [
    "fractional value",
    "theory/definition",
    /sum\.values\["1"\] is 0.5/,
    withSum({ operands: ["x"], values: { "1": 0.5, "2": 1 } }),
  ],
  [
    "sums out of range",
    "theory/sum",
    /sums run from 0 to 9, 10 values/,
    withSum({ operands: ["x"], values: { "1": 0, "2": 9 } }),
  ],
  [
    "sum without a token",
    "theory/vocabulary",
    /for input "0"/,
    withSum({ operands: ["x"], values: { "1": 0, "2": 4 } }),
  ],
];

describe("definitions that cannot be built", () => {
  it.each(bad)("%s", (_, code, message, definition) => {
    const building = () => buildSuperposition(definition, { examples: 2 });
    expect(building).toThrow(expect.objectContaining({ code }));
    expect(building).toThrow(message);
  });

  it.each([
    [{ examples: 2, heads: 2 }, "theory/heads", /3 heads are needed .* 2 were allowed/],
    [{ examples: 0 }, "theory/size", /number of examples is 0/],
    [{ examples: 1.5 }, "theory/size", /number of examples is 1.5/],
    [{ examples: 2, beta: 0 }, "theory/size", /beta is 0/],
    [{ examples: 2, layers: 5 as 4 }, "theory/size", /layouts of 4 and 7 layers/],
  ])("options %j", (options, code, message) => {
    const building = () => buildSuperposition(arithmetic(), options);
    expect(building).toThrow(expect.objectContaining({ code }));
    expect(building).toThrow(message);
  });

  it("unknown preset", () => {
    expect(() => loadPreset("poetry")).toThrow(/no preset "poetry"; presets are arithmetic/);
  });
});

describe("prompts as people write them", () => {
  const define = (changes: Partial<TaskDefinition>): TaskDefinition => ({
    name: "mine",
    description: "",
    vocabulary: ["red", "light red", "New York", "a,b", "$&", "{y}", "?"],
    slots: [{ name: "x" }, { name: "z" }, { name: "y" }],
    tasks: [{ name: "same", source: { slot: "x" }, map: "identity" }],
    ...changes,
  });

  it.each<[string, Partial<TaskDefinition>]>([
    ["without a template", {}],
    ["with spaces between all slots", { template: "{x} {z} {y}" }],
    ["with the label first", { template: "{y} <- {z}, {x}" }],
    ["with no space anywhere", { template: "{x}+{z}->{y}" }],
    ["with spaces around signs", { template: "say: {x} . {z} = {y} !" }],
  ])("are read back %s", (_, changes) => {
    const program = compileTasks(define(changes));
    const { vocabulary } = program.definition;
    const examples = vocabulary.flatMap((x) => vocabulary.map((z) => [x, z, "light red"]));
    const query = ["New York", "light red"];
    const text = [...examples, query].map((words) => formatExample(program, words)).join("\n");
    expect(parsePrompt(program, text)).toEqual({ examples, query });
  });

  it("may leave out the space before a missing label, or give a question mark", () => {
    const program = compileTasks(define({ vocabulary: ["red", "green"], template: "{x} {z} {y}" }));
    for (const query of ["red green", "red  green ?", "red green ? "]) {
      expect(parsePrompt(program, `green red green, ${query}`)).toEqual({
        examples: [["green", "red", "green"]],
        query: ["red", "green"],
      });
    }
  });

  it.each<[string, RegExp]>([
    ["red, red green", /"red" is not written as \{x\} \{z\} \{y\}; separate examples by commas/],
    ["red green, red green", /example 0 has no label/],
    ["red green red", /leave the label of the last one out/],
  ])("refuse %j", (text, message) => {
    const program = compileTasks(define({ vocabulary: ["red", "green"] }));
    expect(() => parsePrompt(program, text)).toThrow(message);
    expect(() => parsePrompt(program, text)).toThrow(expect.objectContaining({ code: "theory/prompt" }));
  });

  it("need a template with each slot once", () => {
    for (const template of ["{x} {y}", "{x} {z} {y} {y}", "{x} {z} {w}"]) {
      expect(() => compileTasks(define({ template }))).toThrow(/must have each slot once: \{x\}, \{z\}, \{y\}/);
    }
  });
});

describe("prompts", () => {
  const program = compileTasks(arithmetic());
  const prompt = samplePrompt(program, 4, seeded(1));

  it("encode to BOS, examples and query, and back", () => {
    const ids = encodePrompt(program, 4, prompt);
    expect(ids.length).toBe(1 + 4 * 3 + 2);
    expect(ids[0]).toBe(program.bos);
    expect(decodePrompt(program, 4, ids)).toEqual(prompt);
  });

  it("print in the definition's template", () => {
    expect(formatExample(program, ["3", "4", "7"])).toBe("3@4=7");
    expect(formatExample(program, ["3", "4"])).toBe("3@4=");
  });

  it.each([
    [
      "more examples than m",
      { ...prompt, examples: [...prompt.examples, ...prompt.examples] },
      /8 examples .* exactly 4; drop/,
    ],
    ["fewer examples than m", { ...prompt, examples: prompt.examples.slice(1) }, /3 examples .* exactly 4; add/],
    ["long query", { ...prompt, query: ["1", "2", "3"] }, /the query has 3 tokens instead of 2/],
    [
      "short example",
      { ...prompt, examples: [["1"], ...prompt.examples.slice(1)] },
      /example 0 has 1 tokens instead of 3/,
    ],
    ["unknown token", { ...prompt, query: ["1", "x"] }, /the query has the token "x", which is not among the 19/],
  ])("refuse %s", (_, wrong, message) => {
    expect(() => promptIds(program, 4, wrong)).toThrow(expect.objectContaining({ code: "theory/prompt" }));
    expect(() => encodePrompt(program, 4, wrong)).toThrow(message);
  });

  it("refuse ids that are no prompt", () => {
    const ids = encodePrompt(program, 4, prompt);
    expect(() => decodePrompt(program, 4, ids.slice(1))).toThrow(/got 14 ids/);
    expect(() => decodePrompt(program, 4, [...ids.slice(0, -1), 99])).toThrow(/token id 99/);
  });
});
