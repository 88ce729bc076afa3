/** Answers ranked among all tokens, and the loss of each token, compared with softmaxes of the full logits in float64. */
import { afterAll, describe, expect, it } from "vitest";
import { HookedModel, lossPerToken, testPrompt } from "../../src/hooks/index.ts";
import { loadGpt2Tokenizer } from "../../src/tokenizer/gpt2.ts";
import { loadFixture } from "../support/fixtures.ts";

const model = new HookedModel(await loadFixture("gpt2"));
afterAll(() => model.destroy());

const PROMPT = [5, 6, 7];
const ANSWER = [38, 9];

/** log p of every token after each position, in float64. */
async function logSoftmaxes(ids: number[], view: HookedModel = model): Promise<number[][]> {
  using result = await view.forward(ids);
  return Promise.all(
    ids.map(async (_, position) => {
      const logits = [...(await result.logits.at(0, position))];
      const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
      return logits.map((logit) => logit - Math.log(total));
    }),
  );
}

describe("testPrompt", () => {
  it("gives rank, probability and the likeliest tokens in each place", async () => {
    const expected = await logSoftmaxes([...PROMPT, ...ANSWER]);
    const { tokens, logProb, probability } = await testPrompt(model, { prompt: PROMPT, answer: ANSWER });
    expect(tokens.map(({ token, position }) => [token, position])).toEqual([
      [38, 3],
      [9, 4],
    ]);
    for (const { token, position, rank, top, ...found } of tokens) {
      const row = expected[position - 1] as number[];
      const own = row[token] as number;
      expect(found.logProb).toBeCloseTo(own, 5);
      expect(found.probability).toBeCloseTo(Math.exp(own), 6);
      expect(rank).toBe(row.filter((other) => other > own).length);
      const order = [...row.keys()].sort((a, b) => (row[b] as number) - (row[a] as number));
      expect(top.map((each) => each.token)).toEqual(order.slice(0, 10));
      for (const each of top) expect(each.probability).toBeCloseTo(Math.exp(row[each.token] as number), 6);
    }
    const sum = (expected[2]?.[38] as number) + (expected[3]?.[9] as number);
    expect(logProb).toBeCloseTo(sum, 5);
    expect(probability).toBeCloseTo(Math.exp(sum), 6);
  });

  it("agrees with logProbs, gives as many tokens as asked, and makes the edits of a scope", async () => {
    const [answer] = await model.logProbs(PROMPT, [ANSWER]);
    const plain = await testPrompt(model, { prompt: PROMPT, answer: ANSWER, topK: 2 });
    expect(plain.logProb).toBeCloseTo(answer?.logProb as number, 5);
    expect(plain.tokens[0]?.top.length).toBe(2);
    const edit = { at: "blocks.1.hook_resid_pre", op: "scale", value: -1 } as const;
    await model.withEdits(edit, async (edited) => {
      const expected = (await logSoftmaxes([...PROMPT, 38], edited))[2]?.[38] as number;
      expect((await testPrompt(edited, { prompt: PROMPT, answer: [38] })).logProb).toBeCloseTo(expected, 5);
      expect(Math.abs(expected - (plain.tokens[0]?.logProb as number))).toBeGreaterThan(1e-3);
    });
  });

  it.each([
    [{ answer: [] }, "input/empty-answer"],
    [{ answer: [96] }, "input/token-range"],
    [{ answer: " a" }, "input/no-tokenizer"],
    [{ answer: [1], topK: 97 }, "hook/top-k"],
  ])("refuses %j", async (options, code) => {
    await expect(testPrompt(model, { prompt: PROMPT, ...options })).rejects.toMatchObject({ code });
  });
});

describe("lossPerToken", () => {
  it("is -log p of each next token, of one sequence and of a batch", async () => {
    const ids = [5, 6, 7, 38];
    const losses = async (list: number[]) => {
      const rows = await logSoftmaxes(list);
      return list.slice(1).map((token, position) => -(rows[position]?.[token] as number));
    };
    const close = (found: ArrayLike<number>, expected: number[]) => {
      expect(found.length).toBe(expected.length);
      for (const [index, value] of expected.entries()) expect(found[index]).toBeCloseTo(value, 5);
    };
    close(await lossPerToken(model, ids), await losses(ids));
    const batch = await lossPerToken(model, [ids, [9, 8]]);
    expect(batch.length).toBe(2);
    close(batch[0] as Float32Array, await losses(ids));
    close(batch[1] as Float32Array, await losses([9, 8]));
    const edit = { at: "blocks.1.hook_resid_pre", op: "scale", value: -1 } as const;
    const edited = await lossPerToken(model, ids, { edits: edit });
    await model.withEdits(edit, async (view) => {
      expect([...edited]).toEqual([...(await lossPerToken(view, ids))]);
    });
    expect([...edited]).not.toEqual([...(await lossPerToken(model, ids))]);
  });

  it("refuses a sequence of one token", async () => {
    await expect(lossPerToken(model, [[1, 2], [3]])).rejects.toMatchObject({ code: "input/too-short" });
  });
});

describe("tokenPosition", () => {
  it("finds a token's first and last place, in ids and in text", async () => {
    expect(model.tokenPosition(7, [5, 7, 6, 7])).toBe(1);
    expect(model.tokenPosition(7, [5, 7, 6, 7], { mode: "last" })).toBe(3);
    expect(() => model.tokenPosition(8, [5, 7])).toThrow(expect.objectContaining({ code: "input/no-such-token" }));
    const reader = new HookedModel(await loadFixture("gpt2"));
    Object.assign(reader, { tokenizer: await loadGpt2Tokenizer(50257, {}, undefined) });
    const text = "When John and Mary met John";
    const words = reader.toStrTokens(text);
    expect(reader.tokenPosition(" John", text)).toBe(words.indexOf(" John"));
    expect(reader.tokenPosition(" John", text, { mode: "last" })).toBe(words.lastIndexOf(" John"));
    expect(() => reader.tokenPosition("John and", text)).toThrow(
      expect.objectContaining({ code: "tokenizer/not-one-token" }),
    );
    reader.destroy();
  });
});
