/** Probabilities of answers for many prompts, against one forward pass over prompt and answer each, in doubles. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Edit, HookedModel } from "../../src/hooks/index.ts";
import { answerProbabilities } from "../../src/paper/answers.ts";
import { LETTERS } from "../generate/support.ts";
import { loadFixture, randomIds } from "../support/fixtures.ts";

function logSoftmax(logits: Float32Array): number[] {
  const largest = Math.max(...logits);
  const total = logits.reduce((sum, value) => sum + Math.exp(value - largest), 0);
  return [...logits].map((value) => value - largest - Math.log(total));
}

/** log P(token | what is before it) over the vocabulary, at each position. */
async function byForward(model: HookedModel, ids: readonly number[]): Promise<number[][]> {
  using run = await model.forward(ids);
  return Promise.all(ids.map(async (_, position) => logSoftmax(await run.logits.at(0, position))));
}

describe.each(["gpt2", "llama", "gemma2"])("%s", (family) => {
  it("gives the numbers of full forward passes, to a batch of prompts of different lengths", async () => {
    const base = await loadFixture(family);
    using model = new HookedModel(base);
    const stem = randomIds(base, 5, 3);
    const prompts = [7, 3, 12].map((length, index) => ({
      prompt: randomIds(base, 40 + index, length),
      answers: [[...stem, 1], [...stem, 2], stem.slice(0, 2), [stem[0] as number, 9], [3], randomIds(base, 60, 5)],
    }));
    const found = await answerProbabilities(model, prompts);
    for (const [index, { prompt, answers }] of prompts.entries()) {
      const result = found[index];
      for (const [number, answer] of answers.entries()) {
        const rows = await byForward(model, [...prompt, ...answer]);
        const expected = answer.reduce((sum, id, at) => sum + (rows[prompt.length + at - 1]?.[id] as number), 0);
        expect(result?.answers[number]?.tokens).toEqual(answer);
        expect(Math.abs((result?.answers[number]?.logProb as number) - expected)).toBeLessThan(2e-4);
      }
      const next = (await byForward(model, prompt)).at(-1) as number[];
      expect(result?.entropy).toBeCloseTo(-next.reduce((sum, value) => sum + Math.exp(value) * value, 0), 4);
      const firsts = new Set(answers.map(([id]) => id));
      const others = next.map((value, id) => (firsts.has(id) ? Number.NEGATIVE_INFINITY : value));
      expect(result?.likeliestOther?.probability).toBeCloseTo(Math.exp(Math.max(...others)), 5);
      expect(result?.likeliestOther?.token).toBe(others.indexOf(Math.max(...others)));
      const first = next[3] as number;
      expect(result?.answers[4]?.rank).toBe(next.filter((value) => value > first).length);
    }
  });
});

describe("answers", () => {
  let model: HookedModel;
  beforeAll(async () => {
    const base = await loadFixture("llama");
    Object.assign(base, { tokenizer: LETTERS });
    model = new HookedModel(base);
  });
  afterAll(() => model.destroy());

  it("that begin another overlap: they are named, and count once in what is left for others", async () => {
    const [found] = await answerProbabilities(model, [{ prompt: [1, 2], answers: [[5, 6], [5], [7], [7]] }]);
    expect(found?.prefixes).toEqual([
      [1, 0],
      [2, 3],
      [3, 2],
    ]);
    const [, five, seven] = (found?.answers ?? []).map(({ probability }) => probability);
    expect(found?.other).toBeCloseTo(1 - (five as number) - (seven as number), 10);
  });

  it("cost two submissions a batch, however many prompts and answers", async () => {
    const prompts = [1, 2, 3].map((seed) => ({
      prompt: randomIds(model.base, seed, 20),
      answers: [[1, 2], [3], [1, 4, 5]],
    }));
    await answerProbabilities(model, prompts);
    const { queue } = model.gpu.device;
    const { submit } = queue;
    let submits = 0;
    queue.submit = (buffers) => {
      submits += 1;
      submit.call(queue, buffers);
    };
    try {
      const forward = await model.forward([1, 2], { logits: "last" });
      const before = submits;
      await forward.logits.tensor.read();
      const reading = submits - before;
      forward.destroy();
      submits = 0;
      await answerProbabilities(model, prompts);
      expect(submits - reading).toBe(2);
    } finally {
      queue.submit = submit;
    }
  });

  it("may be text; a model without a tokenizer refuses it, and says which prompt", async () => {
    const [text] = await answerProbabilities(model, [{ prompt: "Hello", answers: [" you", "!"] }]);
    const ids = [" you", "!"].map((answer) => LETTERS.encode(answer));
    const [byIds] = await answerProbabilities(model, [{ prompt: LETTERS.encode("Hello"), answers: ids }]);
    expect(text).toEqual(byIds);
    expect(text?.likeliestOther?.text).toBe(LETTERS.tokenText(text?.likeliestOther?.token as number));
    using plain = new HookedModel(await loadFixture("gpt2"));
    await expect(
      answerProbabilities(plain, [
        { prompt: [1], answers: [[2]] },
        { prompt: "a", answers: ["b"] },
      ]),
    ).rejects.toMatchObject({
      code: "input/no-tokenizer",
      message: expect.stringMatching(/^Prompt 1: /),
    });
  });

  it.each([
    [
      "input/too-long",
      [
        { prompt: [1], answers: [[2]] },
        { prompt: Array<number>(5000).fill(1), answers: [[2]] },
      ],
    ],
    [
      "input/empty-answer",
      [
        { prompt: [1], answers: [[2]] },
        { prompt: [1], answers: [[]] },
      ],
    ],
  ])("that cannot be scored are refused before anything runs: %s", async (code, prompts) => {
    const seen: number[] = [];
    const message = expect.stringMatching(/^Prompt 1: /);
    await expect(
      answerProbabilities(model, prompts, { onProgress: ({ done }) => void seen.push(done) }),
    ).rejects.toMatchObject({
      code,
      message,
    });
    expect(seen).toEqual([]);
  });

  it("report progress, end with the signal and leave the memory where it was", async () => {
    const prompts = Array.from({ length: 3 }, (_, seed) => ({
      prompt: randomIds(model.base, seed, 9),
      answers: [[1, 2]],
    }));
    await answerProbabilities(model, prompts);
    const before = model.gpu.memory.buffers;
    const seen: [number, number][] = [];
    await answerProbabilities(model, prompts, { onProgress: ({ done, total }) => void seen.push([done, total]) });
    expect(seen.at(-1)).toEqual([3, 3]);
    expect(model.gpu.memory.buffers).toBe(before);
    const signal = AbortSignal.abort(new Error("enough"));
    await expect(answerProbabilities(model, prompts, { signal })).rejects.toThrow("enough");
  });

  it.each<[string, Edit, (prompt: number) => Edit]>([
    [
      "in prompt and answer",
      { at: "blocks.0.hook_mlp_out", op: "scale", value: 0.5 },
      () => ({ at: "blocks.0.hook_mlp_out", op: "scale", value: 0.5 }),
    ],
    [
      "at the prompt's last position",
      { at: "blocks.1.hook_resid_pre", op: "scale", value: -1, positions: -1 },
      (prompt) => ({ at: "blocks.1.hook_resid_pre", op: "scale", value: -1, positions: prompt - 1 }),
    ],
  ])("under edits %s are those of a forward pass with the same edits", async (_, edit, sameAt) => {
    const prompts = [7, 4].map((length, seed) => ({
      prompt: randomIds(model.base, seed, length),
      answers: [[1, 2, 3], [5]],
    }));
    const plain = await answerProbabilities(model, prompts);
    const edited = await model.withEdits(edit, (view) => answerProbabilities(view, prompts));
    const own = prompts.map((prompt, index) => (index === 0 ? { ...prompt, edits: edit } : prompt));
    expect(await answerProbabilities(model, own)).toEqual([edited[0], plain[1]]);
    for (const [index, { prompt, answers }] of prompts.entries())
      for (const [number, answer] of answers.entries()) {
        using run = await model.forward([...prompt, ...answer], { edits: sameAt(prompt.length) });
        let expected = 0;
        for (const [at, id] of answer.entries())
          expected += logSoftmax(await run.logits.at(0, prompt.length + at - 1))[id] as number;
        const found = edited[index]?.answers[number]?.logProb as number;
        expect(Math.abs(found - expected)).toBeLessThan(2e-4);
        expect(Math.abs(found - (plain[index]?.answers[number]?.logProb as number))).toBeGreaterThan(1e-3);
      }
  });

  it("under edits of single prompts, or of a view that has ended, are refused", async () => {
    const prompts = [{ prompt: [1, 2], answers: [[2]] }];
    const at = "blocks.0.hook_resid_pre";
    using several = await model.forward(
      [
        [1, 2],
        [3, 4],
      ],
      { capture: at },
    );
    const ofCache = { at, op: "set", value: several.cache.at(at) } as const;
    for (const edit of [{ at, op: "scale", value: 0, batch: 0 } as const, ofCache])
      await expect(model.withEdits(edit, (view) => answerProbabilities(view, prompts))).rejects.toMatchObject({
        code: "hook/unsupported",
        message: expect.stringContaining("its own batches"),
      });
    const beyond = { at, op: "scale", value: 0, positions: 7 } as const;
    await expect(model.withEdits(beyond, (view) => answerProbabilities(view, prompts))).rejects.toMatchObject({
      code: "hook/position-range",
    });
    const ended = await model.withEdits([], (view) => view);
    await expect(answerProbabilities(ended, prompts)).rejects.toMatchObject({ code: "hook/scope-ended" });
  });
});
