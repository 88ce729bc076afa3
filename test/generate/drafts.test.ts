/**
 * Superposed decoding and beam search against the same methods written down plainly: whole forward passes without a cache,
 * sums of embeddings on the host, and every candidate sorted.
 */
import { describe, expect, it } from "vitest";
import { beamSearch, HookedModel, superposedDecode } from "../../src/hooks/index.ts";
import type { Draft } from "../../src/model/drafts/drafts.ts";
import { NgramModel } from "../../src/model/drafts/ngrams.ts";
import { loadFixture, randomIds } from "../support/fixtures.ts";
import { LETTERS } from "./support.ts";

const MAX = 4;

function logSoftmax(logits: Float32Array): number[] {
  const largest = Math.max(...logits);
  const total = logits.reduce((sum, value) => sum + Math.exp(value - largest), 0);
  return [...logits].map((value) => value - largest - Math.log(total));
}

async function lastOf(model: HookedModel, input: Parameters<HookedModel["forward"]>[0]): Promise<number[]> {
  using run = await model.forward(input, { logits: "last" });
  return logSoftmax(await run.logits.at(0, -1));
}

/** Tokens by falling log probability. */
const ranked = (logProbs: readonly number[]) =>
  [...logProbs.keys()].sort((a, b) => (logProbs[b] as number) - (logProbs[a] as number));

type Plain = Pick<Draft, "tokens" | "score">;
interface Setting {
  k: number;
  eos: number;
  ngrams?: NgramModel;
}

/** The k best of what ended and of each live draft's continuations. */
async function plainDrafts(
  prompt: readonly number[],
  { k, eos, ngrams }: Setting,
  nextOf: (live: readonly Plain[]) => Promise<number[][]>,
): Promise<Plain[]> {
  let drafts: Plain[] = [{ tokens: [], score: 0 }];
  for (let step = 0; step < MAX; step++) {
    const live = drafts.filter(({ tokens }) => tokens.at(-1) !== eos);
    const next = live.length > 0 ? await nextOf(live) : [];
    const grown = live.flatMap(({ tokens, score }, index) => {
      const logProbs = next[index] as number[];
      return ranked(logProbs)
        .slice(0, k)
        .map((token) => {
          const model = logProbs[token] as number;
          const text = Math.log(ngrams?.probability([...prompt, ...tokens], token) ?? 1);
          return { tokens: [...tokens, token], score: score + (ngrams ? 0.46 * model + 0.54 * text : model) };
        });
    });
    const ended = drafts.filter(({ tokens }) => tokens.at(-1) === eos);
    drafts = [...ended, ...grown].sort((a, b) => b.score - a.score).slice(0, k);
  }
  return drafts;
}

async function plainSuperposed(model: HookedModel, prompt: readonly number[], setting: Setting): Promise<Plain[]> {
  const { data } = await model.weight("W_E");
  const { dModel, embed } = model.spec;
  const embedding = (token: number) =>
    [...data.subarray(token * dModel, (token + 1) * dModel)].map((x) => x * embed.scale);
  const read = prompt.flatMap(embedding);
  return plainDrafts(prompt, setting, async (live) => {
    if ((live[0] as Plain).tokens.length > 0) {
      const total = live.reduce((sum, { score }) => sum + Math.exp(score), 0);
      const sum = Array<number>(dModel).fill(0);
      for (const { tokens, score } of live)
        for (const [d, value] of embedding(tokens.at(-1) as number).entries())
          sum[d] = (sum[d] as number) + (Math.exp(score) / total) * value;
      read.push(...sum);
    }
    const next = await lastOf(model, { inputsEmbeds: [read] });
    return live.map(() => next);
  });
}

const plainBeam = (model: HookedModel, prompt: readonly number[], setting: Setting) =>
  plainDrafts(prompt, setting, (live) => Promise.all(live.map(({ tokens }) => lastOf(model, [...prompt, ...tokens]))));

function expectSame(found: readonly Draft[] | undefined, expected: readonly Plain[]): void {
  expect(found?.map(({ tokens }) => tokens)).toEqual(expected.map(({ tokens }) => tokens));
  for (const [index, { score }] of expected.entries())
    expect(Math.abs((found?.[index]?.score as number) - score)).toBeLessThan(2e-4);
}

/** Learned positions, scaled embeddings, a norm after them, and neither. */
describe.each(["gpt2", "gemma2", "bloom", "llama"])("%s", (family) => {
  it("gives the drafts of plain passes, to prompts of different lengths, with and without an end", async () => {
    using model = new HookedModel(await loadFixture(family));
    const { vocabSize } = model.spec;
    const prompts = [7, 4].map((length, index) => randomIds(model.base, 40 + index, length));
    const k = 3;
    const ngrams = new NgramModel([randomIds(model.base, 9, 400), prompts.flat()], { vocabSize, order: 3 });
    const options = { drafts: k, maxNewTokens: MAX };
    const [first] = await beamSearch(model, prompts[0] as number[], { ...options, eos: [] });
    for (const eos of [vocabSize, first?.drafts[1]?.tokens[1] as number]) {
      const ends = { ...options, eos: eos === vocabSize ? [] : [eos] };
      const superposed = await superposedDecode(model, prompts, ends);
      const filtered = await superposedDecode(model, prompts, { ...ends, ngrams });
      const beams = await beamSearch(model, prompts, ends);
      for (const [index, prompt] of prompts.entries()) {
        expectSame(superposed[index]?.drafts, await plainSuperposed(model, prompt, { k, eos }));
        expectSame(filtered[index]?.drafts, await plainSuperposed(model, prompt, { k, eos, ngrams }));
        expectSame(beams[index]?.drafts, await plainBeam(model, prompt, { k, eos }));
      }
    }
  });
});

describe("drafts", () => {
  it("of one are those of greedy generation, and of beam search have the answers' log probabilities", async () => {
    using model = new HookedModel(await loadFixture("llama"));
    const prompt = randomIds(model.base, 3, 6);
    const greedy: number[] = [];
    for await (const { tokens } of model.generate(prompt, { maxNewTokens: MAX, ignoreEos: true }))
      greedy.push(tokens[0] as number);
    const options = { drafts: 1, maxNewTokens: MAX, eos: [] };
    for (const method of [superposedDecode, beamSearch])
      expect((await method(model, prompt, options))[0]?.drafts[0]?.tokens).toEqual(greedy);
    const [found] = await beamSearch(model, prompt, { ...options, drafts: 4 });
    const answers = await model.logProbs(prompt, found?.drafts.map(({ tokens }) => tokens) ?? []);
    for (const [index, { score }] of (found?.drafts ?? []).entries())
      expect(Math.abs(score - (answers[index]?.logProb as number))).toBeLessThan(2e-4);
  });

  it("say how many rows the model ran: one a step, or one a draft and step", async () => {
    using model = new HookedModel(await loadFixture("llama"));
    const { base } = model;
    const { run } = base;
    let ran = 0;
    base.run = (ids, options) => {
      ran += ids.flat().length;
      return run.call(base, ids, options);
    };
    const prompt = randomIds(base, 3, 6);
    for (const [method, rows] of [
      [superposedDecode, MAX - 1],
      [beamSearch, 3 * (MAX - 1)],
    ] as const) {
      ran = 0;
      const [found] = await method(model, prompt, { drafts: 3, maxNewTokens: MAX, eos: [] });
      expect(found?.rows).toBe(rows);
      expect(ran - prompt.length).toBe(rows);
    }
  });

  it("have text, end at the tokenizer's end token, and leave the memory where it was", async () => {
    const base = await loadFixture("llama");
    Object.assign(base, { tokenizer: LETTERS });
    using model = new HookedModel(base);
    const options = { drafts: 4, maxNewTokens: MAX };
    const [found] = await superposedDecode(model, "Hello", options);
    for (const { tokens, text, ended } of found?.drafts ?? []) {
      expect(text).toBe(LETTERS.decode(tokens, { skipSpecial: true }));
      expect(ended).toBe(tokens.at(-1) === 95);
      expect(tokens.slice(0, -1)).not.toContain(95);
    }
    const before = model.gpu.memory;
    await superposedDecode(model, "Hello", options);
    await beamSearch(model, "Hello", options);
    expect(model.gpu.memory).toEqual(before);
  });

  it("refuse what cannot be", async () => {
    using model = new HookedModel(await loadFixture("llama"));
    const options = { drafts: 2, maxNewTokens: 3 };
    const { vocabSize, maxPositions } = model.spec;
    const refuses = (input: number[], changes: object, code: string) =>
      expect(superposedDecode(model, input, { ...options, ...changes })).rejects.toMatchObject({ code });
    await refuses([1], { drafts: 0 }, "input/argument");
    await refuses([1], { alpha: 0.5 }, "input/idle-option");
    await refuses([1], { ngrams: new NgramModel([[1]], { vocabSize: vocabSize + 1 }) }, "input/ngrams");
    await refuses([1], { eos: [vocabSize] }, "input/token-range");
    await refuses([vocabSize], {}, "input/token-range");
    await refuses([], {}, "input/empty");
    await refuses(Array<number>(maxPositions - 1).fill(1), {}, "input/too-long");
    const edit = { at: "blocks.0.hook_resid_pre", op: "zero" } as const;
    for (const method of [superposedDecode, beamSearch])
      await expect(model.withEdits(edit, (edited) => method(edited, [1], options))).rejects.toMatchObject({
        code: "hook/unsupported",
      });
    const signal = AbortSignal.abort(new Error("enough"));
    await expect(superposedDecode(model, [1], { ...options, signal })).rejects.toThrow("enough");
  });
});

describe("n-grams", () => {
  it("are interpolated as Witten and Bell have it", () => {
    const model = new NgramModel([[1, 2, 1, 3], [2]], { vocabSize: 4, order: 2 });
    // Five tokens, three of them different; after 1 came 2 and 3, once each.
    const two = (2 + 3 / 4) / 8;
    expect(model.probability([], 2)).toBeCloseTo(two, 12);
    expect(model.probability([0, 1], 2)).toBeCloseTo((1 + 2 * two) / 4, 12);
    expect(model.probability([3], 2)).toBeCloseTo(two, 12);
    expect(model.probability([], 0)).toBeCloseTo(3 / 4 / 8, 12);
  });

  it("of any context sum to one, and know the longest one that was seen", () => {
    const model = new NgramModel([[0, 1, 2, 3, 0, 1, 2, 4, 5, 1, 2, 3]], { vocabSize: 6, order: 4 });
    for (const before of [[], [2], [0, 1, 2], [5, 5, 5], [3, 0, 1, 2]]) {
      const all = [0, 1, 2, 3, 4, 5].map((token) => model.probability(before, token));
      expect(all.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 12);
    }
    expect(model.probability([5, 1, 2], 3)).toBeGreaterThan(model.probability([0, 1, 2], 3));
  });
});
