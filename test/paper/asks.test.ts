/** Figures that only ask prompts, on a small trained model, against a softmax over the logits of their prompts. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MemoryStore } from "../../src/checkpoint/index.ts";
import { HookedModel, loadModel } from "../../src/hooks/index.ts";
import { familiesOf } from "../../src/paper/figures/asking.ts";
import { examplesOf, roomNote } from "../../src/paper/figures/examples.ts";
import { settingsOf } from "../../src/paper/figures/mixed.ts";
import {
  evaluationPrompts,
  figureOf,
  type Prompt,
  promptIds,
  runFigure,
  type Subject,
  type Summary,
  taskFamily,
  Vocabulary,
} from "../../src/paper/index.ts";
import { LETTERS } from "../generate/support.ts";
import { loadFixture } from "../support/fixtures.ts";
import { testGpu } from "../support/gpu.ts";
import "../support/host.ts";

const FOLDER = fileURLToPath(new URL("../fixtures/paper/lc-d16-l2-h2", import.meta.url));
const vocabulary = Vocabulary.fromJson(JSON.parse(readFileSync(`${FOLDER}/vocab.json`, "utf8")));
const family = taskFamily("countries");
const TASKS = ["capital", "continent", "upper"];

let subject: Subject;
beforeAll(async () => {
  subject = { model: await loadModel(FOLDER, { gpu: await testGpu() }), vocabulary };
});
afterAll(() => subject.model.destroy());

/** What may follow each prompt: lines of one token by text, likeliest first. */
async function linesAfter(prompts: readonly Prompt[]): Promise<Map<string, number>[]> {
  using run = await subject.model.forward(
    prompts.map((prompt) => promptIds(vocabulary, prompt)),
    { logits: "last" },
  );
  return Promise.all(
    prompts.map(async (_, row) => {
      const logits = [...(await run.logits.at(row, -1))];
      const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
      const lines = logits.flatMap((logit, id): [string, number][] => {
        const token = vocabulary.tokens[id] as string;
        return token.endsWith("\n") ? [[token.trim(), Math.exp(logit) / total]] : [];
      });
      return new Map(lines.sort((a, b) => b[1] - a[1]));
    }),
  );
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** The rows of countries. */
async function rowsOf(figure: string): Promise<Summary["table"]["rows"]> {
  const summary = await runFigure(figureOf(figure), subject, { store: new MemoryStore(), quick: true });
  return summary?.table.rows.filter(([name]) => name === "countries") ?? [];
}

const prompts = (counts: number[], tasks?: string[]) =>
  evaluationPrompts(family, { counts, count: 20, seed: 0, ...(tasks && { tasks }) });

describe("on a trained model", () => {
  it("others has the likeliest line that is no task's", async () => {
    const asked = prompts([7, 6, 7], TASKS);
    const lines = await linesAfter(asked);
    const rows = await rowsOf("others");
    expect(rows.map(([, answer]) => answer)).toEqual([...TASKS, "likeliest other"]);
    for (const [role] of TASKS.entries())
      expect(rows[role]?.[2]).toBeCloseTo(mean(asked.map(({ answers }, row) => lines[row]!.get(answers[role]!)!)), 5);
    const others = asked.map(({ answers }, row) => [...lines[row]!].find(([text]) => !answers.includes(text))![1]);
    expect(rows[3]?.[2]).toBeCloseTo(mean(others), 5);
    expect(rows[3]?.[6]).toBe(1);
  });

  it("ablation keeps queries and length, and the dropped task has no example", async () => {
    const rows = await rowsOf("ablation");
    const whole = prompts([7, 6, 7], TASKS);
    for (const [dropped, counts] of [
      [0, [0, 10, 10]],
      [2, [10, 10, 0]],
    ] as const) {
      const asked = prompts([...counts], TASKS);
      expect(asked.map(({ query }) => query)).toEqual(whole.map(({ query }) => query));
      const lines = await linesAfter(asked);
      const own = rows.filter(([, without]) => without === TASKS[dropped]);
      for (const role of [0, 1, 2]) {
        const expected = mean(asked.map(({ answers }, row) => lines[row]!.get(answers[role]!)!));
        expect(own[role]?.slice(2, 4)).toEqual([TASKS[role], counts[role]! / 20]);
        expect(own[role]?.[4]).toBeCloseTo(expected, 5);
      }
    }
    expect(rows).toHaveLength(4 * 3);
  });

  it("top-k counts the answers among the K likeliest lines, and cost the same by task", async () => {
    const rows = await rowsOf("top-k");
    const costs = await rowsOf("cost");
    for (const counts of [[20], [10, 10], [7, 6, 7]]) {
      const asked = prompts(counts);
      const lines = await linesAfter(asked);
      const inTop = asked.map(({ answers }, row) => {
        const top = [...lines[row]!.keys()].slice(0, counts.length);
        return answers.map((answer) => Number(top.includes(answer)));
      });
      const row = rows[counts.length - 1]!;
      expect(row[1]).toBe(counts.length);
      expect(row[2]).toBeCloseTo(mean(inTop.flat()), 10);
      expect(row[3]).toBeCloseTo(counts.length * mean(inTop.flat()), 10);
      for (const cost of costs.filter((one) => one[2] === counts.length)) {
        const task = TASKS.indexOf(cost[1] as string);
        const own = asked.flatMap(({ tasks }, index) => {
          const role = tasks.indexOf(task);
          return role < 0 ? [] : [inTop[index]![role]!];
        });
        expect(cost[6]).toBeCloseTo(mean(own), 10);
        expect(cost[7]).toBeCloseTo((cost[5] as number) - mean(own), 10);
      }
    }
    expect(costs).toHaveLength(2 * 3);
  });
});

describe("examples of a prompt", () => {
  it("are twenty, or as many as the context holds", async () => {
    expect(examplesOf(subject, ["countries"])).toEqual({ countries: 20 });
    const narrow = { ...subject, model: withPositions(subject.model, 24) };
    // A line has two tokens: (24 - 2 of the query - 2) / 2.
    expect(examplesOf(narrow, ["countries"])).toEqual({ countries: 10 });
    expect(roomNote("small", { countries: 10 })).toContain("10 instead of 20 for countries");
    expect(roomNote("small", { countries: 20 })).toBe("");
    const none = { ...subject, model: withPositions(subject.model, 9) };
    expect(() => examplesOf(none, ["countries"])).toThrow(
      expect.objectContaining({
        code: "paper/prompt",
        message: expect.stringContaining("Use a model with a longer context"),
      }),
    );
  });

  it("are text for a model with a tokenizer; one that has neither tokenizer nor words is refused", async () => {
    const base = await loadFixture("llama");
    using model = new HookedModel(base);
    expect(() => familiesOf({ model, vocabulary: undefined })).toThrow(
      expect.objectContaining({ code: "paper/no-tokenizer" }),
    );
    expect(() => familiesOf({ model, vocabulary: new Vocabulary(["\n", "x"]) })).toThrow(
      expect.objectContaining({ code: "paper/vocabulary" }),
    );
    Object.assign(base, { tokenizer: LETTERS });
    using text = new HookedModel(base);
    const read = { model: withPositions(text, 700), vocabulary: undefined };
    const { arithmetic } = examplesOf(read, familiesOf(read));
    // "12@30=42" and its line break are nine letters, or ten: (700 - 12) / 10 would be the least, 60 is wanted.
    expect(arithmetic).toBe(60);
    const fewer = examplesOf({ ...read, model: withPositions(text, 300) }, ["arithmetic"]).arithmetic as number;
    const longest = evaluationPrompts(taskFamily("arithmetic", "pretrained"), { counts: [0, 0, fewer], count: 50 });
    for (const { examples } of longest) expect(examples).toHaveLength(fewer);
    expect(fewer).toBeGreaterThanOrEqual(27);
    expect(fewer * 9.56 + 12).toBeLessThan(300);
    // Some thirty letters a line of number words are too many for four of them.
    const room = examplesOf({ ...read, model: withPositions(text, 120) }, ["number-words", "words"]);
    expect(room).toEqual({ "number-words": 0, words: expect.toSatisfy((count: number) => count >= 4 && count < 12) });
    expect(roomNote("pretrained", room)).toMatch(/: 0 instead of 80 for number-words, which is left out; \d+ instead/);
    expect((await settingsOf({ ...read, model: withPositions(text, 120) }, 20)).families).not.toContain("number-words");
  });
});

/** The model as if its context were so long. */
function withPositions(model: HookedModel, maxPositions: number): HookedModel {
  return Object.create(model, {
    spec: { value: { ...model.spec, maxPositions } },
    tokenizer: { value: model.tokenizer },
    label: { value: model.label },
  });
}
