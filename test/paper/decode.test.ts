/**
 * The figure `decode` on a small model that spells its answers: a Llama 32 wide with 2 layers, trained on number words with the
 * recipe of the preset `number-chars`.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, it } from "vitest";
import { MemoryStore, readText } from "../../src/checkpoint/store.ts";
import { beamSearch, type HookedModel, loadModel, superposedDecode } from "../../src/hooks/index.ts";
import { DecodedPrompts, WAYS, type Way } from "../../src/paper/decoding.ts";
import type { Summary } from "../../src/paper/figure.ts";
import { figureOf } from "../../src/paper/figures/index.ts";
import { measurePrompts } from "../../src/paper/measure.ts";
import { evaluationPrompts, type Prompt, promptIds } from "../../src/paper/prompts.ts";
import { runFigure } from "../../src/paper/runs.ts";
import type { Subject } from "../../src/paper/subjects.ts";
import { taskFamily } from "../../src/paper/tasks/index.ts";
import { Vocabulary } from "../../src/paper/tasks/vocabulary.ts";
import { testGpu } from "../support/gpu.ts";

const folderOf = (name: string) => fileURLToPath(new URL(`../fixtures/paper/${name}`, import.meta.url));
const vocabularyOf = async (folder: string) =>
  Vocabulary.fromJson(JSON.parse(await readFile(join(folder, "vocab.json"), "utf8")));

const FAMILY = taskFamily("number-words");
/** Of the longest answer, diecisiete, and the line break after it. */
const LONGEST = 11;

let model: HookedModel;
let vocabulary: Vocabulary;
let subject: Subject;
let prompts: Prompt[];
let store: MemoryStore;
let summary: Summary;
beforeAll(async () => {
  const folder = folderOf("number-chars-d32-l2-h4");
  model = await loadModel(folder, { gpu: await testGpu() });
  vocabulary = await vocabularyOf(folder);
  subject = { model, vocabulary };
  prompts = evaluationPrompts(FAMILY, { counts: [5, 5, 5, 5], tasks: [0, 1, 2, 3], count: 20, seed: 0 });
  store = new MemoryStore();
  summary = (await runFigure(figureOf("decode"), subject, { store, quick: true })) as Summary;
});
afterAll(() => model.destroy());

/** Drafts as the table has them. */
const rowOf = (way: Way, drafts: number) =>
  summary.table.rows.find((row) => row[1] === way && row[2] === drafts) as (string | number)[];

/** Of each prompt, how many answers are among texts that are whole lines. */
const answered = (texts: readonly (readonly string[])[]) =>
  prompts.reduce(
    (sum, { answers }, index) => sum + answers.filter((answer) => texts[index]?.includes(`${answer}\n`)).length,
    0,
  ) / prompts.length;

const spelled = (ids: readonly number[]) => ids.map((id) => vocabulary.tokens[id]).join("");

it("has a row for each way and number of drafts, and a drawing without NaN", async () => {
  expect(summary.table.rows.map(([family, way, drafts]) => [family, way, drafts])).toEqual(
    WAYS.flatMap((way) => [1, 4, 8].map((drafts) => ["number-words", way, drafts])),
  );
  for (const value of summary.table.rows.flat()) expect(value).not.toBeNaN();
  expect(summary.plots.map(({ name }) => name)).toEqual(["decode-number-words"]);
  expect(await summary.plots[0]?.picture.svg()).not.toMatch(/NaN|undefined|Infinity/);
  expect(await readText(store, "index.html")).toContain(summary.sentence.slice(0, 20));
});

it("counts the answers that drafts of whole prompts hold, and the tokens that they take", async () => {
  const inputs = prompts.map((prompt) => promptIds(vocabulary, prompt));
  const options = { drafts: 4, maxNewTokens: LONGEST, eos: [vocabulary.bos] };
  for (const [way, method] of [
    ["superposed", superposedDecode],
    ["beam search", beamSearch],
  ] as const) {
    const found = await method(model, inputs, options);
    const [, , , tasks, alive, , rows] = rowOf(way, 4);
    expect(tasks).toBe(4);
    expect(alive).toBeCloseTo(answered(found.map(({ drafts }) => drafts.map(({ tokens }) => spelled(tokens)))), 12);
    expect(rows).toBeCloseTo(found.reduce((sum, one) => sum + one.rows, 0) / prompts.length, 12);
  }
});

it("has greedy generation as its drafts of one, whichever the way", async () => {
  const drawn = prompts.map((): number[] => []);
  const inputs = prompts.map((prompt) => promptIds(vocabulary, prompt));
  for await (const { tokens } of model.generate(inputs, { maxNewTokens: LONGEST, eos: [vocabulary.bos] }))
    for (const [index, token] of tokens.entries()) if (token !== undefined) drawn[index]?.push(token);
  for (const way of ["superposed", "beam search"] as const) {
    const [, , , , alive, , rows] = rowOf(way, 1);
    expect(alive).toBeCloseTo(answered(drawn.map((ids) => [spelled(ids)])), 12);
    expect(rows).toBeCloseTo(drawn.flat().length / prompts.length - 1, 12);
  }
});

it("samples answers as often as their probabilities say", async () => {
  const measured = await measurePrompts(model, vocabulary, prompts);
  const chances = measured.flatMap(({ probabilities }) => probabilities.map((p) => 1 - (1 - p) ** 8));
  const expected = chances.reduce((sum, chance) => sum + chance, 0) / prompts.length;
  const deviation = Math.sqrt(chances.reduce((sum, chance) => sum + chance * (1 - chance), 0)) / prompts.length;
  const alive = rowOf("sampling", 8)[4] as number;
  expect(Math.abs(alive - expected)).toBeLessThan(3.5 * deviation);
  expect(deviation).toBeLessThan(0.15 * expected);
});

it("with n-grams of a text that has one task's answers alone, keeps that task alive", async () => {
  const text = "->seven\n->eight\n->nine\n->six\n->five\n->ten\n->eleven\n->twelve\n->four\n->three\n->two\n->one\n";
  const english = async (options: { text?: string }) => {
    using decoded = await DecodedPrompts.run(subject, FAMILY, prompts.slice(0, 8), options);
    const found = await decoded.survivals({ way: "with n-grams", drafts: 4, seed: 0 });
    return found.filter(({ alive }) => alive[1]).length;
  };
  expect(await english({ text })).toBeGreaterThan(await english({}));
  await expect(english({ text: "->Ω\n" })).rejects.toMatchObject({ code: "paper/vocabulary" });
});

it("refuses a model whose answers are one token; other figures refuse a text", async () => {
  const folder = folderOf("lc-d16-l2-h2");
  using words = await loadModel(folder, { gpu: await testGpu() });
  const other = { model: words, vocabulary: await vocabularyOf(folder) };
  const run = (figure: string, options: object) =>
    runFigure(figureOf(figure), other, { store: new MemoryStore(), quick: true, ...options });
  await expect(run("decode", {})).rejects.toMatchObject({ code: "paper/one-token" });
  await expect(run("lambda", { text: "a" })).rejects.toMatchObject({ code: "input/idle-option" });
});
