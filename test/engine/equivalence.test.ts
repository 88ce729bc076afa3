/**
 * There are many ways to run the same tokens: alone or in a batch, in one call or several, in one pass or in chunks, on
 * a cache or on a fork of it. All must give the same logits.
 */
import { describe, expect, it } from "vitest";
import type { Model } from "../../src/model/model.ts";
import { FAMILIES, loadFixture, randomIds, readLogits } from "../support/fixtures.ts";
import { byDay } from "../support/nightly.ts";
import { relativeError } from "../support/numbers.ts";

/** Other kernels may serve other numbers of rows, and they add in another order. Seen: up to 5e-7. */
const TOLERANCE = 3e-6;

/** The logits [length, vocab] of one sequence, run by itself in one call. */
const alone = (model: Model, ids: readonly number[]) => readLogits(model.forward(ids));

const rowsOf = (model: Model, logits: Float32Array, first: number, end = first + 1) =>
  logits.subarray(first * model.spec.vocabSize, end * model.spec.vocabSize);

const WAYS: Record<string, (model: Model) => Promise<void>> = {
  async "a batch of unequal lengths gives each sequence what it gets alone"(model) {
    const batch = [7, 1, 19, 4].map((length, index) => randomIds(model, index, length));
    const logits = await model.forward(batch);
    const all = await logits.read();
    const width = Math.max(...batch.map((ids) => ids.length));
    expect(logits.shape).toEqual([4, width, model.spec.vocabSize]);
    for (const [sequence, ids] of batch.entries()) {
      const mine = rowsOf(model, all, sequence * width, sequence * width + ids.length);
      expect(relativeError(mine, await alone(model, ids))).toBeLessThan(TOLERANCE);
    }
    logits.destroy();
  },

  async "a prompt in several calls on a cache gives the logits of one call"(model) {
    const ids = randomIds(model, 5, 40);
    const whole = await alone(model, ids);
    using cache = model.createKvCache({ capacity: 3 });
    let done = 0;
    for (const count of [1, 6, 1, 2, 30]) {
      const part = await readLogits(model.forward(ids.slice(done, done + count), { kv: cache }));
      expect(relativeError(part, rowsOf(model, whole, done, done + count))).toBeLessThan(TOLERANCE);
      done += count;
    }
    expect(cache.lengths).toEqual([40]);
  },

  async "forks of a cache go on as if each had been run from the start"(model) {
    const prompts = [randomIds(model, 1, 9), randomIds(model, 2, 14)];
    using cache = model.createKvCache({ sequences: 2 });
    (await model.forward(prompts, { kv: cache, logits: "none" })).destroy();
    using fork = cache.fork([1, 0, 1]);
    const picked = [prompts[1], prompts[0], prompts[1]] as number[][];
    const tails = [3, 5, 1].map((length, index) => randomIds(model, 30 + index, length));
    const logits = await model.forward(tails, { kv: fork });
    // The original is continued after its forks were, with other tokens, and must not see theirs.
    const own = [randomIds(model, 40, 2), randomIds(model, 41, 4)];
    const later = await model.forward(own, { kv: cache, logits: "last" });
    for (const [sequence, tail] of tails.entries()) {
      const prompt = picked[sequence] as number[];
      const expected = rowsOf(
        model,
        await alone(model, [...prompt, ...tail]),
        prompt.length,
        prompt.length + tail.length,
      );
      const rows = await Promise.all(tail.map((_, index) => logits.at(sequence, prompt.length + index)));
      expect(
        relativeError(
          rows.flatMap((row) => [...row]),
          expected,
        ),
      ).toBeLessThan(TOLERANCE);
    }
    for (const [sequence, tail] of own.entries()) {
      const whole = [...(prompts[sequence] as number[]), ...tail];
      const expected = rowsOf(model, await alone(model, whole), whole.length - 1);
      expect(relativeError(await later.at(sequence, -1), expected)).toBeLessThan(TOLERANCE);
    }
    logits.destroy();
    later.destroy();
    // Slots that a fork shared are not free when it ends.
    fork.destroy();
    const more = randomIds(model, 60, 30);
    const whole = [...(prompts[1] as number[]), ...(own[1] as number[]), ...more];
    const end = await model.forward([[1], more], { kv: cache, logits: "last" });
    expect(relativeError(await end.at(1, -1), rowsOf(model, await alone(model, whole), whole.length - 1))).toBeLessThan(
      TOLERANCE,
    );
    end.destroy();
  },

  async "slots that are used again hold the new tokens"(model) {
    using cache = model.createKvCache({ capacity: 12 });
    (await model.forward(randomIds(model, 7, 12), { kv: cache, logits: "none" })).destroy();
    cache.truncate(0, 5);
    const ids = [...randomIds(model, 7, 12).slice(0, 5), ...randomIds(model, 8, 7)];
    const part = await readLogits(model.forward(ids.slice(5), { kv: cache }));
    expect(relativeError(part, rowsOf(model, await alone(model, ids), 5, 12))).toBeLessThan(TOLERANCE);
  },

  async "passes of 5 rows give the logits of one pass"(model) {
    const batch = [randomIds(model, 3, 33), randomIds(model, 4, 8)];
    const whole = await readLogits(model.forward(batch));
    const last = await readLogits(model.forward(batch, { logits: "last" }));
    model.engine.maxRowsPerPass = 5;
    expect(relativeError(await readLogits(model.forward(batch)), whole)).toBeLessThan(TOLERANCE);
    expect(relativeError(await readLogits(model.forward(batch, { logits: "last" })), last)).toBeLessThan(TOLERANCE);
    model.engine.maxRowsPerPass = 1;
    expect(relativeError(await readLogits(model.forward(batch, { logits: "last" })), last)).toBeLessThan(TOLERANCE);
  },

  async "the logits of chosen positions are those rows of all logits"(model) {
    const batch = [randomIds(model, 5, 12), randomIds(model, 6, 7)];
    const all = await model.forward(batch);
    const selections = {
      last: [[11], [6]],
      "0,-1,3": [
        [0, 3, 11],
        [0, 3, 6],
      ],
      none: [[], []],
    };
    for (const [name, positions] of Object.entries(selections)) {
      const selection = name.includes(",") ? name.split(",").map(Number) : (name as "last" | "none");
      const some = await model.forward(batch, { logits: selection });
      expect(some.positions).toEqual(positions);
      for (const [sequence, list] of positions.entries()) {
        for (const position of list) {
          const [is, should] = await Promise.all([some.at(sequence, position), all.at(sequence, position)]);
          expect(relativeError(is, should)).toBeLessThan(TOLERANCE);
        }
      }
      some.destroy();
    }
    all.destroy();
  },
};

/** Learned positions, ALiBi, window, soft caps, parallel blocks, multi-query, norms of q and k, norms after: all ways. */
const SAMPLE = ["gpt2", "bloom", "mistral", "gemma2", "gptj", "falcon", "qwen3", "olmo2"] as const;
/** What the other families are run by at night. */
const FIRST_WAYS = Object.keys(WAYS).slice(0, 2);

describe.each(byDay(FAMILIES, SAMPLE))("%s", (family) => {
  it.each((SAMPLE as readonly string[]).includes(family) ? Object.keys(WAYS) : FIRST_WAYS)("%s", async (way) => {
    using model = await loadFixture(family);
    await WAYS[way]?.(model);
  });
});

describe("forwards under way at once", () => {
  // 70 positions outgrow the RoPE table that 3 began with, while the passes over 3 wait for their pipelines.
  it.each(["llama", "gemma3", "bloom"])("%s: they do not disturb each other", async (family) => {
    using model = await loadFixture(family);
    const inputs = [3, 70, 17].map((length, index) => randomIds(model, 50 + index, length));
    const together = await Promise.all(inputs.map((ids) => alone(model, ids)));
    for (const [index, ids] of inputs.entries()) {
      expect(relativeError(together[index] as Float32Array, await alone(model, ids))).toBeLessThan(TOLERANCE);
    }
  });
});
