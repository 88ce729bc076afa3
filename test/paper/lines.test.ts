/** The likeliest lines: of one token against the softmax, of several against every line that there is; and prompts as text. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HookedModel, loadModel } from "../../src/hooks/index.ts";
import {
  evaluationPrompts,
  likeliestLines,
  measurePrompts,
  type Prompt,
  presetModel,
  promptIds,
  promptText,
  type TaskFamily,
  taskFamily,
  trainingPreset,
  Vocabulary,
} from "../../src/paper/index.ts";
import { loadChanged, loadFixture } from "../support/fixtures.ts";
import { testGpu } from "../support/gpu.ts";
import "../support/host.ts";
import { LINES, nextOf } from "./support.ts";

const FOLDER = fileURLToPath(new URL("../fixtures/paper/lc-d16-l2-h2", import.meta.url));

it("of one token are the likeliest tokens that end a line", async () => {
  using model = await loadModel(FOLDER, { gpu: await testGpu() });
  const vocabulary = Vocabulary.fromJson(JSON.parse(readFileSync(`${FOLDER}/vocab.json`, "utf8")));
  const prompts = evaluationPrompts(taskFamily("countries"), { counts: [5, 5], count: 4 });
  const inputs = prompts.map((prompt) => promptIds(vocabulary, prompt));
  const seen: number[][] = [];
  const found = await likeliestLines(model, vocabulary, inputs, {
    enough: (lines) => lines.length >= 4,
    onProgress: ({ done, total }) => void seen.push([done, total]),
  });
  expect(seen.at(-1)).toEqual([4, 4]);
  for (const [row, next] of (await nextOf(model, inputs)).entries()) {
    const ends = [...next.entries()].filter(([id]) => vocabulary.tokens[id]?.endsWith("\n"));
    const best = ends.sort((a, b) => b[1] - a[1]).slice(0, 4);
    expect(found[row]?.isExact).toBe(true);
    expect(found[row]?.lines.map(({ text }) => text)).toEqual(best.map(([id]) => vocabulary.tokens[id]?.trim()));
    for (const [place, [, value]] of best.entries())
      expect(found[row]?.lines[place]?.probability).toBeCloseTo(value, 5);
  }
});

it("of several tokens are the best of all lines that there are", async () => {
  const preset = trainingPreset("plus");
  const config = { ...preset.config, vocab_size: 3, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1 };
  const shape = { ...config, num_attention_heads: 2, num_key_value_heads: 2 };
  const vocabulary = new Vocabulary(["\n", "0", "1"]);
  using model = await loadModel(presetModel({ ...preset, config: shape }, 3), { gpu: await testGpu() });
  const prompt = [0, 1, 2, 2, 0, 1];
  /** Every line of up to seven digits, and with what probability a longer one begins. */
  const all: { text: string; probability: number }[] = [];
  let starts = [{ digits: [] as number[], chance: 1 }];
  for (let length = 0; length < 8; length++) {
    const inputs = starts.map(({ digits }) => [...prompt, ...digits]);
    const nexts = await nextOf(model, inputs);
    starts = starts.flatMap(({ digits, chance }, row) => {
      const [end, ...digit] = nexts[row] as [number, number, number];
      all.push({ text: digits.map((id) => vocabulary.tokens[id]).join(""), probability: chance * end });
      return digit.map((value, which) => ({ digits: [...digits, which + 1], chance: chance * value }));
    });
  }
  const best = all.sort((a, b) => b.probability - a.probability).slice(0, 5);
  expect(Math.max(...starts.map(({ chance }) => chance))).toBeLessThan(best[4]?.probability as number);
  const [found] = await likeliestLines(model, vocabulary, [prompt], { enough: (lines) => lines.length >= 5 });
  expect(found?.isExact).toBe(true);
  expect(found?.lines.map(({ text }) => text)).toEqual(best.map(({ text }) => text));
  expect(best.some(({ text }) => text.length > 1)).toBe(true);
  // The search was not ended at the sixth: what is left is as likely as that at least, and no likelier than the fifth.
  expect(found?.bound).toBeGreaterThanOrEqual((all[5]?.probability as number) * (1 - 1e-4));
  expect(found?.bound).toBeLessThanOrEqual((best[4]?.probability as number) * (1 + 1e-4));
  for (const [place, { probability }] of best.entries())
    expect(found?.lines[place]?.probability).toBeCloseTo(probability, 5);
});

describe("prompts as text", () => {
  /** "six" begins "sixteen". */
  const family: TaskFamily = {
    name: "sizes",
    inputs: [{ values: ["a", "b"], after: "->" }],
    tasks: ["six", "sixteen"].map((name) => ({ name, answers: [name], answer: () => name })),
  };
  const prompts = evaluationPrompts(family, { counts: [2, 1], count: 2, held: false });
  let model: HookedModel;
  beforeAll(async () => {
    const base = await loadChanged("llama", { max_position_embeddings: 256 });
    Object.assign(base, { tokenizer: LINES });
    model = new HookedModel(base);
  });
  afterAll(() => model.destroy());

  it.each([false, true])("have answers with the chain rule's probability, with line breaks: %s", async (wholeLines) => {
    const measured = await measurePrompts(model, undefined, prompts, { wholeLines });
    for (const [index, prompt] of prompts.entries()) {
      for (const [role, answer] of prompt.answers.entries()) {
        const ids = LINES.encode(wholeLines ? `${answer}\n` : answer);
        const start = LINES.encode(promptText(prompt));
        const nexts = await nextOf(
          model,
          ids.map((_, at) => [...start, ...ids.slice(0, at)]),
        );
        const expected = ids.reduce((product, id, at) => product * (nexts[at]?.[id] as number), 1);
        expect((measured[index]?.probabilities[role] as number) / expected).toBeCloseTo(1, 3);
      }
      expect(measured[index]?.isOverlapping).toBe(!wholeLines);
    }
  });

  it("have lines that end with a line break or the end of the text, as far as they were found", async () => {
    const found = await likeliestLines(model, undefined, prompts.map(promptText), {
      enough: (lines) => lines.length >= 2,
    });
    for (const [index, { lines }] of found.entries()) {
      expect(lines.length).toBeGreaterThan(0);
      for (const { text, probability } of lines) {
        const start = LINES.encode(promptText(prompts[index] as Prompt));
        const ids = LINES.encode(text);
        const nexts = await nextOf(
          model,
          [...ids, 94].map((_, at) => [...start, ...ids.slice(0, at)]),
        );
        const words = ids.reduce((product, id, at) => product * (nexts[at]?.[id] as number), 1);
        const ends = [94, 95].map((id) => words * (nexts.at(-1)?.[id] as number));
        // By one of its two ends, or by both.
        const both = [...ends, (ends[0] as number) + (ends[1] as number)];
        expect(Math.min(...both.map((value) => Math.abs(probability / value - 1)))).toBeLessThan(1e-3);
      }
    }
  });

  it("of a model that has no tokenizer, or no room for them, are refused", async () => {
    using plain = new HookedModel(await loadFixture("llama"));
    const enough = () => true;
    for (const call of [
      measurePrompts(plain, undefined, prompts),
      likeliestLines(plain, undefined, prompts.map(promptText), { enough }),
    ])
      await expect(call).rejects.toMatchObject({
        code: "paper/no-tokenizer",
        message: expect.stringContaining("Use a model that has one"),
      });
    const long = evaluationPrompts(family, { counts: [40, 40], count: 1, held: false });
    for (const call of [
      measurePrompts(model, undefined, long),
      likeliestLines(model, undefined, long.map(promptText), { enough }),
    ])
      await expect(call).rejects.toMatchObject({
        code: "input/too-long",
        message: expect.stringMatching(/^Prompt 0: /),
      });
  });
});
