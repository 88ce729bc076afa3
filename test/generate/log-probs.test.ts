/** Probabilities of answers, against forward passes over prompt and answer together and a log-softmax in doubles. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Recorder } from "../../src/gpu/recorder.ts";
import { recordLogProbs } from "../../src/model/log-probs.ts";
import type { Model } from "../../src/model/model.ts";
import type { Tokenizer } from "../../src/tokenizer/index.ts";
import { loadFixture, randomIds } from "../support/fixtures.ts";
import { gpuWithLimits, testGpu } from "../support/gpu.ts";
import { gaussians, seeded } from "../support/numbers.ts";
import { LETTERS } from "./support.ts";

function logSoftmaxAt(x: ArrayLike<number>, token: number): number {
  const values = Array.from(x);
  const largest = values.reduce((a, b) => Math.max(a, b));
  const sum = values.reduce((total, value) => total + Math.exp(value - largest), 0);
  return (x[token] as number) - largest - Math.log(sum);
}

/** log p of each token of the answer, one forward pass over everything. */
async function byForward(model: Model, prompt: readonly number[], answer: readonly number[]): Promise<number[]> {
  using logits = await model.forward([...prompt, ...answer]);
  const rows = answer.map((_, index) => logits.at(0, prompt.length + index - 1));
  return (await Promise.all(rows)).map((row, index) => logSoftmaxAt(row, answer[index] as number));
}

describe("the log-softmax of chosen tokens", () => {
  it.each([1, 63, 65, 1000, 50257])("agrees with the reference over %i tokens", async (vocab) => {
    const random = seeded(vocab);
    const rows = vocab > 1000 ? 3 : 150;
    const logits = gaussians(random, rows * vocab, 5, 100);
    const entries = Array.from({ length: rows }, (_, row) => {
      return Array.from({ length: row % 3 }, () => [row, Math.floor(random() * vocab)] as const);
    }).flat();
    const gpus = [
      await testGpu(),
      await gpuWithLimits({ maxStorageBufferBindingSize: 64 * 65 * 4, maxComputeWorkgroupsPerDimension: 7 }),
    ];
    for (const gpu of vocab > 65 ? gpus.slice(0, 1) : gpus) {
      using tensor = gpu.tensorFrom(logits, [rows, vocab], "logits");
      const readback = await Recorder.run(gpu, "log probs", (recorder) =>
        recorder.readback(recordLogProbs(recorder, tensor, entries)),
      );
      const actual = new Float32Array(readback.bytes);
      expect(actual).toHaveLength(entries.length);
      entries.forEach(([row, token], index) => {
        const expected = logSoftmaxAt(logits.subarray(row * vocab, (row + 1) * vocab), token);
        expect(Math.abs((actual[index] as number) - expected)).toBeLessThan(1e-5 * Math.max(1, Math.abs(expected)));
      });
    }
  });
});

describe.each(["gpt2", "gemma2", "bloom"])("%s", (family) => {
  it("gives the probabilities of a forward pass over prompt and answer", async () => {
    using model = await loadFixture(family);
    const prompt = randomIds(model, 11, 9);
    const answers = [1, 4, 2, 1, 7].map((length, index) => randomIds(model, 20 + index, length));
    const results = await model.logProbs(prompt, answers);
    for (const [index, answer] of answers.entries()) {
      const expected = await byForward(model, prompt, answer);
      const result = results[index];
      expect(result?.tokens).toEqual(answer);
      expect(result?.tokenLogProbs).toHaveLength(answer.length);
      expected.forEach((value, position) => {
        expect(Math.abs((result?.tokenLogProbs[position] as number) - value)).toBeLessThan(2e-4);
      });
      const sum = result?.tokenLogProbs.reduce((a, b) => a + b, 0) as number;
      expect(result?.logProb).toBeCloseTo(sum, 10);
      expect(result?.probability).toBeCloseTo(Math.exp(sum), 10);
    }
  });
});

describe("answers", () => {
  let model: Model;

  beforeAll(async () => {
    model = await loadFixture("llama");
    Object.assign(model, { tokenizer: LETTERS });
  });
  afterAll(() => model.destroy());

  it("of one token sum to one over the vocabulary", async () => {
    const all = Array.from({ length: model.spec.vocabSize }, (_, token) => [token]);
    const results = await model.logProbs("Hello", all);
    expect(results.reduce((sum, { probability }) => sum + probability, 0)).toBeCloseTo(1, 4);
  });

  it("cost two submissions, the prompt's and one for all that is left", async () => {
    await model.logProbs("Hello", ["ab", "c"]);
    const { queue } = model.gpu.device;
    const submit = queue.submit;
    let submits = 0;
    queue.submit = (buffers) => {
      submits += 1;
      submit.call(queue, buffers);
    };
    try {
      await model.logProbs(randomIds(model, 1, 60), [[1], [2, 3, 4], [5, 6], [7]]);
    } finally {
      queue.submit = submit;
    }
    expect(submits).toBe(2);
  });

  it("may be text, after a text or after ids", async () => {
    const byText = await model.logProbs("Hello", [" you", "!"]);
    const byIds = await model.logProbs(LETTERS.encode("Hello"), [LETTERS.encode(" you"), LETTERS.encode("!")]);
    const mixed = await model.logProbs(LETTERS.encode("Hello"), [" you", "!"]);
    expect(byText).toEqual(byIds);
    expect(mixed).toEqual(byIds);
  });

  it("are tokenized with the prompt, unless that changes the prompt's tokens", async () => {
    // As byte-pair encodings do: a space belongs to the letter after it, here as the capital letter.
    const merging: Tokenizer = {
      ...LETTERS,
      encode: (text, options) =>
        LETTERS.encode(
          text.replace(/ ([a-z])/g, (_, letter: string) => letter.toUpperCase()),
          options,
        ),
    };
    Object.assign(model, { tokenizer: merging });
    try {
      const [joint] = await model.logProbs("is", [" paris"]);
      expect(joint?.tokens).toEqual(LETTERS.encode("Paris"));
      await expect(model.logProbs("is ", ["paris"])).rejects.toMatchObject({
        code: "input/answer-boundary",
        message: expect.stringMatching(
          /token 2 .* Move the space from the end of the prompt to the beginning of the answer/,
        ),
      });
      const [separate] = await model.logProbs("is ", ["paris"], { tokenization: "separate" });
      expect(separate?.tokens).toEqual(LETTERS.encode("paris"));
    } finally {
      Object.assign(model, { tokenizer: LETTERS });
    }
  });

  it("may fill the model's positions but for the last token, which needs none", async () => {
    const { maxPositions } = model.spec;
    const prompt = randomIds(model, 3, maxPositions - 1);
    const answer = [4, 5];
    const [result] = await model.logProbs(prompt, [answer]);
    expect(result?.tokenLogProbs).toHaveLength(2);
    await expect(model.logProbs(prompt, [[4, 5, 6]])).rejects.toMatchObject({ code: "input/too-long" });
  });

  it.each([
    ["input/empty-answer", [[]]],
    ["input/token-range", [[1], [96]]],
    ["input/token-range", [[1, -1]]],
  ])("that cannot be scored are refused: %s", async (code, answers) => {
    await expect(model.logProbs([1, 2], answers)).rejects.toMatchObject({ code });
  });

  it("may be none", async () => {
    expect(await model.logProbs([1, 2], [])).toEqual([]);
  });

  it("leave the memory where it was", async () => {
    const before = model.gpu.memory.buffers;
    await model.logProbs("Hello", ["ab", "c"]);
    expect(model.gpu.memory.buffers).toBe(before);
  });
});
