/**
 * Measuring: a checkpoint that was trained and measured with PyTorch gives the same numbers here, on prompts of the same law;
 * probabilities are those of a plain computation; and a report says what its rows say.
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type HookedModel, loadModel } from "../../src/hooks/index.ts";
import {
  countsOf,
  equalShares,
  evaluationPrompts,
  type Measured,
  measurePrompts,
  mixtureReport,
  type Prompt,
  presetModel,
  promptIds,
  type TaskFamily,
  taskFamily,
  trainingPreset,
  Vocabulary,
} from "../../src/paper/index.ts";
import "../support/host.ts";
import { testGpu } from "../support/gpu.ts";

const FOLDER = fileURLToPath(new URL("../fixtures/paper/lc-d16-l2-h2", import.meta.url));
const json = (file: string) => JSON.parse(readFileSync(`${FOLDER}/${file}`, "utf8"));

/** What PyTorch measured, on 300 prompts of `m` examples. */
interface Reference {
  m: number;
  acc_held: number;
  curve_held: { share: number; a: number; b: number; other: number }[];
  mixK: { p: number[]; other: number; kl: number; topk_all: number };
}
const reference: Record<string, Reference> = json("results.json").evaluation;
const vocabulary = Vocabulary.fromJson(json("vocab.json"));

let model: HookedModel;
beforeAll(async () => {
  model = await loadModel(FOLDER, { gpu: await testGpu() });
});
afterAll(() => model.destroy());

async function report(family: TaskFamily, shares: readonly number[], count: number, tasks?: string[]) {
  const m = reference[family.name === "countries" ? "country" : "lang"]?.m as number;
  const options = { counts: countsOf(shares, m), count, seed: 1, ...(tasks && { tasks }) };
  const prompts = evaluationPrompts(family, options);
  return mixtureReport(prompts, await measurePrompts(model, vocabulary, prompts));
}

describe.each([
  ["number-words", "lang"],
  ["countries", "country"],
])("%s", (name, key) => {
  const family = taskFamily(name);
  const { acc_held, curve_held, mixK } = reference[key] as Reference;

  it("is answered as PyTorch measured it", async () => {
    expect(Math.abs(((await report(family, [1], 300)).topK as number) - acc_held)).toBeLessThan(0.02);
  });

  it.each([0.3, 0.5])("at share %d gives each task what PyTorch measured", async (share) => {
    const { roles, other } = await report(family, [share, 1 - share], 250);
    // Roles are random tasks, so role 1 at share s is role 0 at 1 - s: twice the prompts for one number.
    const at = (part: number) => curve_held.find((point) => Math.abs(point.share - part) < 1e-9)!;
    const [a, b] = roles.map(({ mean }) => mean) as [number, number];
    const theirs = { a: (at(share).a + at(1 - share).b) / 2, b: (at(share).b + at(1 - share).a) / 2 };
    expect(Math.abs(share === 0.5 ? (a + b) / 2 - (theirs.a + theirs.b) / 2 : a - theirs.a)).toBeLessThan(0.06);
    expect(Math.abs(share === 0.5 ? 0 : b - theirs.b)).toBeLessThan(0.06);
    expect(Math.abs(other - (at(share).other + at(1 - share).other) / 2)).toBeLessThan(0.04);
  });

  it("mixed of all tasks gives each what PyTorch measured", async () => {
    const names = family.tasks.map((task) => task.name);
    const { roles, other, kl, topK } = await report(family, equalShares(names.length), 250, names);
    roles.forEach(({ mean }, role) => {
      expect(Math.abs(mean - (mixK.p[role] as number)), names[role]).toBeLessThan(0.06);
    });
    expect(Math.abs(other - mixK.other)).toBeLessThan(0.04);
    expect(Math.abs(kl - mixK.kl)).toBeLessThan(0.2);
    expect(Math.abs((topK as number) - mixK.topk_all)).toBeLessThan(0.06);
  });
});

it("probabilities and ranks are those of the logits, whichever way they are found", async () => {
  const family = taskFamily("countries");
  const prompts = evaluationPrompts(family, { counts: [3, 2], count: 3 });
  const seen: number[][] = [];
  const measured = await measurePrompts(model, vocabulary, prompts, {
    onProgress: ({ done, total }) => void seen.push([done, total]),
  });
  expect(seen.at(-1)).toEqual([3, 3]);
  for (const [index, prompt] of prompts.entries()) {
    const ids = promptIds(vocabulary, prompt);
    const answers = prompt.answers.map((answer) => vocabulary.answerIds(answer));
    const byEngine = await model.logProbs(ids, answers);
    using run = await model.forward([ids], { logits: "last" });
    const logits = [...(await run.logits.read())];
    const order = [...logits.keys()].sort((a, b) => (logits[b] as number) - (logits[a] as number));
    answers.forEach(([id], role) => {
      const { probabilities, ranks } = measured[index] as Measured;
      expect(probabilities[role]).toBeCloseTo(Math.exp((byEngine[role] as { logProb: number }).logProb), 5);
      expect(ranks?.[role]).toBe(order.indexOf(id as number));
    });
  }
});

it("an answer of several characters has the product of their probabilities", async () => {
  const preset = { ...trainingPreset("paper-plus") };
  const small = {
    ...preset.config,
    hidden_size: 16,
    intermediate_size: 32,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    num_key_value_heads: 2,
  };
  using untrained = await loadModel(presetModel({ ...preset, config: small }), { gpu: await testGpu() });
  const { families, vocabulary: characters } = preset.data;
  const [prompt] = evaluationPrompts(families[0] as TaskFamily, { counts: [2, 2], count: 1 }) as [Prompt];
  const [{ probabilities, ranks }] = (await measurePrompts(untrained, characters, [prompt])) as [Measured];
  expect(ranks).toBeUndefined();
  const ids = promptIds(characters, prompt);
  for (const [role, answer] of prompt.answers.entries()) {
    const [digit, end] = characters.answerIds(answer) as [number, number];
    using run = await untrained.forward([[...ids, digit]]);
    const [before, after] = [await run.logits.at(0, ids.length - 1), await run.logits.at(0, ids.length)];
    expect(probabilities[role]).toBeCloseTo(softmaxAt(before, digit) * softmaxAt(after, end), 6);
  }
});

function softmaxAt(logits: Float32Array, id: number): number {
  const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
  return Math.exp(logits[id] as number) / total;
}

it("a report tells a model that mixes in every prompt from one that picks a task in each", () => {
  const prompts = evaluationPrompts(taskFamily("countries"), { counts: [2, 2], count: 4 });
  const rows = (list: [number, number][]) =>
    list.map(([a, b]) => ({ probabilities: [a, b], ranks: [0, b > 0.02 ? 1 : 2] }));
  const mixes = mixtureReport(
    prompts,
    rows([
      [0.5, 0.5],
      [0.45, 0.45],
      [0.5, 0.4],
      [0.45, 0.45],
    ]),
  );
  const picks = mixtureReport(
    prompts,
    rows([
      [0.95, 0.01],
      [0.01, 0.95],
      [0.89, 0.01],
      [0.05, 0.83],
    ]),
  );
  for (const { roles } of [mixes, picks]) expect(roles[0]?.mean).toBeCloseTo(0.475);
  expect(mixes.roles.map(({ share }) => share)).toEqual([0.5, 0.5]);
  expect(mixes).toMatchObject({ prompts: 4, fair: 1, allAboveFifth: 1, topK: 1 });
  expect(picks).toMatchObject({ fair: 0, allAboveFifth: 0, topK: 0.5 });
  expect(mixes.smaller).toBeCloseTo(0.45 - 0.0125 + 0.0125);
  expect(picks.smaller).toBeCloseTo(0.02);
  expect(mixes.other).toBeCloseTo(0.075);
  // Of answers that begin others the sum says too much; what was measured beside them is right.
  const overlapping = rows([[0.9, 0.8]]).map((row) => ({ ...row, other: 0.1 }));
  expect(mixtureReport(prompts.slice(0, 1), overlapping).other).toBeCloseTo(0.1);
  expect(mixes.roles[0]?.spread).toBeCloseTo(0.025);
  expect(picks.roles[0]?.spread).toBeCloseTo(Math.sqrt((0.475 ** 2 + 0.465 ** 2 + 0.415 ** 2 + 0.425 ** 2) / 4));
  const kl = (a: number, b: number) => 0.5 * Math.log(0.5 / a) + 0.5 * Math.log(0.5 / b);
  expect(mixes.kl).toBeCloseTo((kl(0.5, 0.5) + 2 * kl(0.45, 0.45) + kl(0.5, 0.4)) / 4);
});

it("a prompt that is longer than the context is refused", async () => {
  const prompts = evaluationPrompts(taskFamily("countries"), { counts: [300], count: 1 });
  await expect(measurePrompts(model, vocabulary, prompts)).rejects.toMatchObject({ code: "input/too-long" });
});
