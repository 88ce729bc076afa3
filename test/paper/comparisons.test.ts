/** Figures over several models: `scale` against raw logits, `seeds` on models that it trains for a few steps. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, expect, it } from "vitest";
import { MemoryStore } from "../../src/checkpoint/index.ts";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { loadModel } from "../../src/hooks/index.ts";
import { defaultModels } from "../../src/paper/embedded.ts";
import { figureOf } from "../../src/paper/figures/index.ts";
import { presetModel, trainingPreset } from "../../src/paper/presets.ts";
import { evaluationPrompts, promptIds } from "../../src/paper/prompts.ts";
import { runFigure } from "../../src/paper/runs.ts";
import { SubjectList } from "../../src/paper/subjects.ts";
import { taskFamily } from "../../src/paper/tasks/index.ts";
import { Vocabulary } from "../../src/paper/tasks/vocabulary.ts";
import { testGpu } from "../support/gpu.ts";

const TRAINED = fileURLToPath(new URL("../fixtures/paper/lc-d16-l2-h2", import.meta.url));

let gpu: Gpu;
beforeAll(async () => {
  gpu = await testGpu();
});

it("scale counts the answers among the K likeliest tokens, and orders models by their parameters", async () => {
  using models = new SubjectList([presetModel(trainingPreset("lc-d32")), TRAINED], (source) =>
    loadModel(source, { gpu }),
  );
  const store = new MemoryStore();
  const summary = await runFigure(figureOf("scale"), models, { store, quick: true });
  const rows = summary?.table.rows ?? [];
  expect(rows.map(([, width, parameters, family, tasks]) => [width, parameters, family, tasks])).toEqual([
    [16, 11_504, "number-words", 4],
    [16, 11_504, "countries", 3],
    [32, 33_248, "number-words", 4],
    [32, 33_248, "countries", 3],
  ]);
  // The larger one is not trained.
  expect(rows[0]?.[5]).toBeGreaterThan(rows[2]?.[5] as number);
  expect(summary?.verdict).toBe("disagrees");
  for (const { picture } of summary?.plots ?? []) expect(await picture.svg()).not.toMatch(/NaN|undefined|Infinity/);

  const vocabulary = Vocabulary.fromJson(JSON.parse(await readFile(join(TRAINED, "vocab.json"), "utf8")));
  using model = await loadModel(TRAINED, { gpu });
  const prompts = evaluationPrompts(taskFamily("countries"), { counts: [7, 6, 7], count: 40 });
  let completed = 0;
  let divergence = 0;
  for (const prompt of prompts) {
    using run = await model.forward([promptIds(vocabulary, prompt)], { logits: "last" });
    const logits = [...(await run.logits.read())];
    const total = logits.reduce((sum, value) => sum + Math.exp(value), 0);
    const likeliest = [...logits.keys()].sort((a, b) => (logits[b] as number) - (logits[a] as number)).slice(0, 3);
    prompt.answers.forEach((answer, role) => {
      const [id] = vocabulary.answerIds(answer) as [number];
      if (likeliest.includes(id)) completed += 1 / 40;
      const share = prompt.shares[role] as number;
      divergence += (share * Math.log((share * total) / Math.exp(logits[id] as number))) / 40;
    });
  }
  expect(rows[1]?.[5]).toBeCloseTo(completed, 9);
  expect(rows[1]?.[7]).toBeCloseTo(divergence, 4);
});

it("seeds trains a model for each number of heads and each seed, once, and asks it", async () => {
  const figure = figureOf("seeds");
  expect(defaultModels(figure, "weights").length).toBe(12);
  const store = new MemoryStore();
  const loaded: string[] = [];
  const run = async () => {
    using models = new SubjectList(defaultModels(figure, "weights", { quick: true }), async (source) => {
      const model = await loadModel(source, { gpu, dtype: "float32" });
      loaded.push(model.label);
      return model;
    });
    return runFigure(figure, models, { store, quick: true });
  };
  const summary = await run();
  expect(summary?.table.rows.map(([heads, seed, family]) => [heads, seed, family])).toEqual([
    [1, 0, "number-words"],
    [1, 0, "countries"],
    [4, 0, "number-words"],
    [4, 0, "countries"],
  ]);
  for (const row of summary?.table.rows ?? []) for (const value of row) expect(value).not.toBeNaN();
  for (const { picture } of summary?.plots ?? []) expect(await picture.svg()).not.toMatch(/NaN|undefined|Infinity/);
  const cell = new TextDecoder().decode(await store.source().readAll("cells/0-trained.json"));
  expect(JSON.parse(cell).result.losses).toHaveLength(3);
  const before = loaded.length;
  expect(await run()).toEqual(summary);
  expect(loaded.length - before).toBe(2);

  using models = new SubjectList([TRAINED], (source) => loadModel(source, { gpu }));
  const other = runFigure(figure, models, { store: new MemoryStore() });
  await expect(other).rejects.toMatchObject({ code: "paper/own-models" });
});

it("purity says how likely the smaller of two answers is, over the impurity of presets", async () => {
  const weights = fileURLToPath(new URL("../../weights", import.meta.url));
  using models = new SubjectList([`${weights}/lc-mix10`, `${weights}/lc`], (source) => loadModel(source, { gpu }));
  const store = new MemoryStore();
  const summary = await runFigure(figureOf("purity"), models, { store, quick: true });
  expect(summary?.verdict).toBe("goes beyond");
  const half = summary?.table.rows.find((row) => row[0] === "lc" && row[1] === "countries" && row[2] === 0.5);

  const vocabulary = Vocabulary.fromJson(JSON.parse(await readFile(join(weights, "lc/vocab.json"), "utf8")));
  using model = await loadModel(`${weights}/lc`, { gpu });
  const prompts = evaluationPrompts(taskFamily("countries"), { counts: [10, 10], count: 20 });
  const smaller: number[] = [];
  for (const prompt of prompts) {
    using run = await model.forward([promptIds(vocabulary, prompt)], { logits: "last" });
    const logits = [...(await run.logits.read())];
    const total = logits.reduce((sum, value) => sum + Math.exp(value), 0);
    const ids = prompt.answers.map((answer) => vocabulary.answerIds(answer)[0] as number);
    smaller.push(Math.min(...ids.map((id) => Math.exp(logits[id] as number) / total)));
  }
  expect(half?.[7]).toBeCloseTo(smaller.reduce((sum, p) => sum + p, 0) / 20, 4);
  expect(half?.[8]).toBeCloseTo(smaller.filter((p) => p > 0.2).length / 20, 10);
  // lc, named last, is the purest and comes first in the plot.
  const plot = (await summary?.plots.find(({ name }) => name === "purity-smaller")?.picture.svg()) as string;
  expect(plot).toContain("training examples of another task (%)");
  const [from, to] = (/ d="M([\d.]+),[\d.]+L([\d.]+),[\d.]+" stroke="#/.exec(plot) ?? []).slice(1).map(Number);
  expect(from).toBeLessThan(to as number);
});
