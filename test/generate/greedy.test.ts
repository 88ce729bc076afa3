/**
 * Greedy search against Hugging Face's `generate` on the same weights (see greedy.py): token for token on the fixture
 * models, and for a trained model where it is at hand.
 */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { loadParts } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import { loadFixture } from "../support/fixtures.ts";
import { testGpu } from "../support/gpu.ts";
import { collect } from "./support.ts";

interface Greedy {
  families: { family: string; prompts: number[][]; runs: { repetitionPenalty: number; tokens: number[][] }[] }[];
  tinyStories: { prompt: string; promptIds: number[]; tokens: number[]; text: string };
}

const EXPECTED = JSON.parse(readFileSync(new URL("greedy.json", import.meta.url), "utf8")) as Greedy;

describe.each(EXPECTED.families)("$family", ({ family, prompts, runs }) => {
  it.each(runs)("gives transformers' tokens with repetition penalty $repetitionPenalty", async (run) => {
    using model = await loadFixture(family);
    const options = { maxNewTokens: 20, repetitionPenalty: run.repetitionPenalty };
    const batch = await collect(model.generate(prompts, options));
    expect(batch.tokens, "as a batch").toEqual(run.tokens);
    expect(batch.finished).toEqual(["length", "length"]);
    for (const [sequence, prompt] of prompts.entries()) {
      expect((await collect(model.generate(prompt, options))).tokens, "alone").toEqual([run.tokens[sequence]]);
    }
  });
});

const FOLDER = fileURLToPath(new URL("../../../shared/models/TinyStories-656K", import.meta.url));
const isHere = existsSync(FOLDER);

describe("TinyStories-656K, a trained model", () => {
  it(isHere ? "writes transformers' story" : `is NOT CHECKED: there is no ${FOLDER}`, async () => {
    if (!isHere)
      return console.warn(`Put TinyStories-656K (a Llama of 656 thousand parameters) into ${FOLDER} to check it.`);
    using model = new Model(await loadParts(FOLDER, { gpu: await testGpu() }));
    const { prompt, promptIds, tokens, text } = EXPECTED.tinyStories;
    expect(model.toTokens(prompt)).toEqual(promptIds);
    const story = await collect(model.generate(prompt, { maxNewTokens: tokens.length }));
    expect(story.tokens).toEqual([tokens]);
    expect(text.endsWith(prompt + story.texts[0])).toBe(true);
  });
});
