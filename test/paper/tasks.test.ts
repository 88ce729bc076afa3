/** The paper's tasks: their words are those of the reference checkpoints, and batches and prompts follow their law. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  countsOf,
  equalShares,
  evaluationPrompts,
  familyNames,
  type Prompt,
  promptIds,
  promptText,
  type TaskBatch,
  type TaskFamily,
  taskFamily,
  trainingBatches,
  Vocabulary,
} from "../../src/paper/index.ts";

const small = (...names: string[]) => names.map((name) => taskFamily(name));

/** Answers of every task of a family to some inputs. */
const answers = ({ tasks }: TaskFamily, ...inputs: string[]) => tasks.map(({ answer }) => answer(inputs));

describe("tasks", () => {
  it.each<[string, string[], string[]]>([
    ["number-words", ["2", "5"], ["7", "seven", "sept", "siete"]],
    ["number-words", ["8", "8"], ["16", "sixteen", "seize", "dieciséis"]],
    ["countries", ["Brazil"], ["Brasília", "America", "BRAZIL"]],
    ["arithmetic", ["4", "7"], ["4", "7", "11"]],
    ["words", ["c", "a", "t"], ["c", "t", "C", "T"]],
    ["plus", ["8"], ["8", "9", "0", "1", "2", "3", "4", "5", "6", "7"]],
    ["retrieval", ["c", "a", "d"], ["c", "a", "d"]],
  ])("of %s answer %j with %j", (name, inputs, expected) => {
    expect(answers(taskFamily(name), ...inputs)).toEqual(expected);
  });

  it("of bias-add reverse the digits: 12 + 34 - 9 is 37, 99 + 1 + 1 is 1, 0 + 0 - 9 is 91", () => {
    const family = taskFamily("bias-add", "from-scratch");
    const named = (name: string) => family.tasks.find((task) => task.name === name);
    expect(named("plus -9")?.answer(["21", "43"])).toBe("73");
    expect(named("plus 1")?.answer(["99", "10"])).toBe("10");
    expect(named("plus -9")?.answer(["00", "00"])).toBe("19");
    expect(family.tasks).toHaveLength(18);
  });

  it.each(["small", "from-scratch", "pretrained"] as const)("of %s answer only what they say", (set) => {
    for (const name of familyNames(set)) {
      const family = taskFamily(name, set);
      for (const prompt of evaluationPrompts(family, { counts: [4], count: 50 }))
        for (const task of family.tasks) expect(task.answers).toContain(task.answer(prompt.query));
    }
  });

  it("that are unknown are refused by name", () => {
    expect(() => taskFamily("colours")).toThrow(/number-words/);
    const [family] = small("countries") as [TaskFamily];
    expect(() => evaluationPrompts(family, { counts: [3], count: 1, tasks: ["river"] })).toThrow(/capital/);
    expect(() => evaluationPrompts(family, { counts: [1, 1, 1, 1], count: 1 })).toThrow(/3 tasks/);
    expect(() => evaluationPrompts(family, { counts: [1, 1], count: 1, tasks: [0, 0] })).toThrow(/all differ/);
  });
});

describe("a vocabulary", () => {
  /** Tokens of the reference runs: of `lc`, from its checkpoint; the others by what they add. */
  const lc = JSON.parse(readFileSync(new URL("../fixtures/paper/lc-d16-l2-h2/vocab.json", import.meta.url), "utf8"));
  const letters = [..."abcdefghijklmnopqrstuvwxyz"];
  const digits = [..."0123456789"];
  const mini = [
    ...Object.keys(lc),
    // Theirs has `0@` and `0=`, too, which no line of theirs has.
    ...digits.slice(1).flatMap((digit) => [`${digit}@`, `${digit}=`]),
    ...letters.flatMap((letter) => [letter, `${letter}->`, `${letter}\n`, `${letter.toUpperCase()}\n`]),
  ];

  it.each([
    ["lc", small("number-words", "countries"), Object.keys(lc)],
    ["mini", small("number-words", "countries", "arithmetic", "words"), mini],
    ["plus", small("plus"), ["\n", ...digits.flatMap((digit) => [`${digit}>`, `${digit}\n`])]],
  ])("of %s has the reference's tokens", (_, families, tokens) => {
    expect([...Vocabulary.of(families).tokens].sort()).toEqual([...tokens].sort());
  });

  it("keeps its ids in a file", () => {
    const made = Vocabulary.of(small("plus"));
    expect(Vocabulary.fromJson(JSON.parse(JSON.stringify(made.toJson()))).tokens).toEqual(made.tokens);
    expect(Vocabulary.fromJson(lc).id("seven\n")).toBe(47);
  });

  it("of characters has each of them once", () => {
    const vocabulary = Vocabulary.of([taskFamily("plus", "from-scratch")], "characters");
    expect([...vocabulary.tokens].sort()).toEqual(["\n", ..."0123456789>"].sort());
    expect(vocabulary.form).toBe("characters");
  });

  it.each([[{}], [{ a: 0 }], [{ "\n": 0, a: 2 }], [{ "\n": 0, a: 0 }], [["\n"]]])("%j is refused", (json) => {
    expect(() => Vocabulary.fromJson(json)).toThrow(/vocabulary/);
  });

  it("names the token that it lacks", () => {
    expect(() => Vocabulary.of(small("plus")).answerIds("Paris")).toThrow(/"Paris\\n"/);
  });
});

/** A sequence as lines, and the answers that count. */
function read(vocabulary: Vocabulary, ids: readonly number[], mask: readonly boolean[]) {
  const text = ids.map((id) => vocabulary.tokens[id]);
  const counted = text.slice(1).filter((_, position) => mask[position]);
  return { lines: text.join("").split("\n").slice(1, -1), counted };
}

describe("training batches", () => {
  const families = small("number-words", "countries", "arithmetic", "words");
  const vocabulary = Vocabulary.of(families);
  const options = { families, vocabulary, batch: 32, length: 96, seed: 3 };
  const take = (count: number, first = 0, changes = {}): TaskBatch[] => {
    const batches = trainingBatches({ ...options, ...changes })(first);
    return Array.from({ length: count }, () => batches.next().value);
  };

  /** Of each sequence its family, the part of examples that each task explains, and whether the mask counts answers. */
  function explained({ ids, mask }: TaskBatch) {
    return ids.map((sequence, row) => {
      const { lines, counted } = read(vocabulary, sequence, mask[row] as boolean[]);
      const parts = families.map((family) => {
        const parsed = lines.map((line) => parse(family, line));
        const isWhole = parsed.every((example) => example !== undefined);
        return isWhole
          ? family.tasks.map((task) => parsed.filter((x) => task.answer(x!.inputs) === x!.answer).length)
          : [];
      });
      const family = parts.findIndex((counts) => Math.max(0, ...counts) > lines.length / 2);
      expect(counted.slice(0, lines.length)).toEqual(
        lines.map((line) => `${parse(families[family]!, line)?.answer}\n`),
      );
      return { family, best: Math.max(...(parts[family] as number[])) / lines.length };
    });
  }

  function parse(family: TaskFamily, line: string) {
    const pattern = `^${family.inputs.map(({ values, after }) => `(${values.join("|")})${after.replace("+", "\\+")}`).join("")}(.+)$`;
    const [, ...parts] = new RegExp(pattern).exec(line) ?? [];
    return parts.length > 0 ? { inputs: parts.slice(0, -1), answer: parts.at(-1) as string } : undefined;
  }

  it("show one task a sequence, every family as often, and count answers alone", () => {
    const rows = take(20).flatMap(explained);
    expect(rows.every(({ best }) => best === 1)).toBe(true);
    families.forEach((_, family) => {
      const part = rows.filter((row) => row.family === family).length / rows.length;
      expect(Math.abs(part - 0.25)).toBeLessThan(0.06); // 640 sequences: 0.017 is a deviation
    });
  });

  it("have length + 1 tokens, and a mask at every L-th place as in the recipe", () => {
    for (const { ids, mask } of take(3, 0, { families: small("number-words") })) {
      expect(new Set(ids.map((sequence) => sequence.length))).toEqual(new Set([97]));
      for (const row of mask) expect(row).toEqual(Array.from({ length: 96 }, (_, t) => t % 3 === 2));
      for (const sequence of ids) expect(sequence[0]).toBe(vocabulary.bos);
    }
  });

  it("with impurity have examples of other tasks, as many as said", () => {
    const rows = take(20, 0, { impurity: 0.2 }).flatMap(explained);
    const best = rows.reduce((sum, row) => sum + row.best, 0) / rows.length;
    // A fifth is redrawn from 3 or 4 tasks, of which one is the same: 0.8 + 0.2 * (0.29 and some that agree by chance).
    expect(best).toBeGreaterThan(0.83);
    expect(best).toBeLessThan(0.9);
  });

  it("are the same from any one on, and others for another seed", () => {
    expect(take(2, 3)).toEqual(take(5).slice(3));
    expect(take(1, 0, { seed: 4 })).not.toEqual(take(1));
  });

  it("of characters count answer and line break", () => {
    const family = taskFamily("bias-add", "from-scratch");
    const characters = Vocabulary.of([family], "characters");
    const made = { families: [family], vocabulary: characters, batch: 4, length: 101 * 9 };
    const { ids, mask } = trainingBatches(made)(0).next().value;
    const { lines, counted } = read(characters, ids[0] as number[], mask[0] as boolean[]);
    expect(lines).toHaveLength(101);
    expect(lines[0]).toMatch(/^\d\d\+\d\d>\d\d$/);
    expect(counted.join("")).toBe(lines.map((line) => `${line.slice(-2)}\n`).join(""));
  });
});

describe("evaluation prompts", () => {
  const [family] = small("number-words") as [TaskFamily];
  const rolesOf = ({ examples }: Prompt) => examples.map(({ role }) => role);

  it("have exactly the counts, in random order, and a query that is held and told apart", () => {
    const prompts = evaluationPrompts(family, { counts: [6, 14], count: 200 });
    const firsts = prompts.filter((prompt) => rolesOf(prompt)[0] === 0).length;
    expect(Math.abs(firsts / 200 - 0.3)).toBeLessThan(0.1);
    for (const prompt of prompts) {
      expect(rolesOf(prompt).filter((role) => role === 0)).toHaveLength(6);
      expect(prompt.examples).toHaveLength(20);
      expect(prompt.examples.filter(({ inputs }) => inputs.join() === prompt.query.join())).toEqual([]);
      expect(new Set(prompt.tasks).size).toBe(2);
      expect(new Set(prompt.answers).size).toBe(2);
      expect(prompt.answers).toEqual(prompt.tasks.map((task) => family.tasks[task]?.answer(prompt.query)));
    }
    expect(new Set(prompts.map(({ tasks }) => tasks.join())).size).toBe(12);
  });

  it("may show the query when it is not held", () => {
    const [plus] = small("plus") as [TaskFamily];
    const prompts = evaluationPrompts(plus, { counts: [20], count: 50, held: false });
    const shown = prompts.filter(({ examples, query }) => examples.some(({ inputs }) => inputs[0] === query[0]));
    expect(shown.length).toBeGreaterThan(30); // 1 - 0.9^20 = 0.88 of them
  });

  it("are the same in shards", () => {
    const whole = evaluationPrompts(family, { counts: [5, 5], count: 10, seed: 1 });
    const shard = evaluationPrompts(family, { counts: [5, 5], count: 4, first: 6, seed: 1 });
    expect(JSON.stringify(shard)).toEqual(JSON.stringify(whole.slice(6)));
  });

  it("keep to the tasks that are given, in that order", () => {
    for (const { tasks } of evaluationPrompts(family, { counts: [3, 3], count: 5, tasks: ["spanish", "digits"] }))
      expect(tasks).toEqual([3, 0]);
  });

  it("are the recipe's tokens and the paper's lines", () => {
    const vocabulary = Vocabulary.of([family]);
    const [prompt] = evaluationPrompts(family, { counts: [2, 1], count: 1 }) as [Prompt];
    const text = promptIds(vocabulary, prompt).map((id) => vocabulary.tokens[id]);
    expect(text.join("")).toBe(`\n${promptText(prompt)}`);
    expect(text).toHaveLength(1 + 3 * 3 + 2);
    const paper = evaluationPrompts(taskFamily("number-words", "pretrained"), { counts: [20, 20, 20, 20], count: 1 });
    const lines = promptText(paper[0] as Prompt).split("\n");
    expect(lines).toHaveLength(81);
    for (const line of lines.slice(0, -1)) expect(line).toMatch(/^[1-9]\d\+[1-9]\d->.+$/);
    expect(lines.at(-1)).toMatch(/^[1-9]\d\+[1-9]\d->$/);
  });

  it.each([
    [[0.3, 0.7], 20, [6, 14]],
    [equalShares(3), 20, [7, 6, 7]],
    [equalShares(4), 60, [15, 15, 15, 15]],
    [[0.1, 0.9], 100, [10, 90]],
    [[0, 1], 7, [0, 7]],
  ])("shares %j of %d are %j", (shares, examples, counts) => {
    expect(countsOf(shares, examples)).toEqual(counts);
  });
});
