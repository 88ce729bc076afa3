/** The logit lens compared with the final norm and unembedding computed step by step, for both kinds of scale. */
import { describe, expect, it } from "vitest";
import { HookedModel } from "../../src/hooks/hooked-model.ts";
import { logitLens } from "../../src/hooks/readouts/index.ts";
import { loadFixture } from "../support/fixtures.ts";
import { gpuWithLimits } from "../support/gpu.ts";
import { relativeError } from "../support/numbers.ts";
import { capture, lens, NAMES, placesOf, subjectOf, vectorAt } from "./definitions.ts";

/** float32; seen: up to 1e-6. */
const TOLERANCE = 5e-6;
const VOCAB = 96;
const POINTS = [
  "blocks.0.hook_resid_pre",
  "blocks.1.hook_resid_pre",
  "blocks.2.hook_resid_pre",
  "blocks.2.hook_resid_post",
];

function logSoftmax(logits: readonly number[]): number[] {
  const largest = Math.max(...logits);
  const total = Math.log(logits.reduce((sum, value) => sum + Math.exp(value - largest), 0));
  return logits.map((value) => value - largest - total);
}

describe.each(NAMES)("%s", (name) => {
  it.each(["own", "run"] as const)(
    "reads every residual through the final norm with its %s scale",
    async (applyFinalNorm) => {
      const subject = await subjectOf(name);
      using model = subject.model;
      const read = await capture(subject, [...POINTS, "ln_final.hook_scale"]);
      using result = await logitLens(model, subject.ids, { applyFinalNorm, full: true, topK: 7 });
      expect(result.labels).toEqual(["0_pre", "1_pre", "2_pre", "final_post"]);
      expect(result.shape).toEqual([4, 2, 9, 7]);
      expect(result.full?.shape).toEqual([4, 15, VOCAB]);
      const full = (await result.full?.read()) as Float32Array;
      using run = await model.forward(subject.ids);
      const logits = await run.logits.tensor.read();
      expect(relativeError(full.subarray(3 * 15 * VOCAB), logits)).toBeLessThan(TOLERANCE);
      for (const [layer, label] of result.labels.entries()) {
        for (const [packed, { row, position, index }] of placesOf(subject.ids).entries()) {
          const scale = applyFinalNorm === "run" ? (read("ln_final.hook_scale")[index] as number) : undefined;
          const expected = lens(subject, vectorAt(read(POINTS[layer] as string), index, 32), scale);
          const mine = vectorAt(full, layer * 15 + packed, VOCAB);
          expect(relativeError(mine, expected)).toBeLessThan(TOLERANCE);
          const order = mine
            .map((logit, token) => ({ logit, token }))
            .sort((a, b) => b.logit - a.logit || a.token - b.token);
          const top = result.at(label, position, row);
          expect(top.map(({ token }) => token)).toEqual(order.slice(0, 7).map(({ token }) => token));
          expect(top.map(({ logit }) => logit)).toEqual(order.slice(0, 7).map(({ logit }) => logit));
          const probabilities = logSoftmax(expected).map(Math.exp);
          expect(
            relativeError(
              top.map(({ probability }) => probability),
              top.map(({ token }) => probabilities[token] as number),
            ),
          ).toBeLessThan(2e-5);
        }
      }
    },
  );
});

describe("the logit lens", () => {
  it("gives chosen tokens, layers and positions", async () => {
    const subject = await subjectOf("gemma2");
    using model = subject.model;
    using all = await logitLens(model, subject.ids, { full: true });
    const some = await logitLens(model, subject.ids, { layers: [-1, 1], positions: [-2, 0], tokens: [90, 4, 90] });
    const full = (await all.full?.read()) as Float32Array;
    expect(some.labels).toEqual(["final_post", "1_pre"]);
    expect(some.positions).toEqual([
      [0, 7],
      [0, 4],
    ]);
    expect([...some.tokens.subarray(0, 3)]).toEqual([90, 4, 90]);
    for (const [label, layer] of [
      ["final_post", 3],
      ["1_pre", 1],
    ] as const) {
      for (const [row, position, packed] of [
        [0, 0, 0],
        [0, 7, 7],
        [1, 0, 9],
        [1, 4, 13],
      ] as const) {
        const logits = vectorAt(full, layer * 15 + packed, VOCAB);
        const logProbs = logSoftmax(logits);
        const tokens = some.at(label, position, row);
        expect(tokens.map(({ token }) => token)).toEqual([90, 4, 90]);
        for (const { token, logit, probability } of tokens) {
          expect(logit).toBeCloseTo(logits[token] as number, 6);
          expect(probability).toBeCloseTo(Math.exp(logProbs[token] as number), 6);
        }
      }
    }
  });

  it("reads the residual as edits left it, from a cache too", async () => {
    const subject = await subjectOf("llama");
    using model = subject.model;
    const edits = [{ at: "blocks.1.hook_resid_pre", op: "zero", dims: [0, 1, 2, 3] } as const];
    using run = await model.forward(subject.ids, { edits, capture: [...POINTS, "ln_final.*"] });
    const residual = await run.cache.read("blocks.2.hook_resid_pre");
    for (const applyFinalNorm of ["own", "run"] as const) {
      using result = await logitLens(model, run, { applyFinalNorm, layers: [2], positions: [5], full: true });
      const scale =
        applyFinalNorm === "run" ? ((await run.cache.read("ln_final.hook_scale"))[9 + 5] as number) : undefined;
      const expected = lens(subject, vectorAt(residual, 9 + 5, 32), scale);
      expect(relativeError(vectorAt((await result.full?.read()) as Float32Array, 1, VOCAB), expected)).toBeLessThan(
        TOLERANCE,
      );
      expect(result.positions).toEqual([[5], [5]]);
    }
  });

  it("unembeds many rows in pieces", async () => {
    const gpu = await gpuWithLimits({ maxStorageBufferBindingSize: 64 * VOCAB * 4 });
    using small = new HookedModel(await loadFixture("gptj", { gpu }));
    using model = new HookedModel(await loadFixture("gptj"));
    const ids = Array.from({ length: 40 }, (_, index) => (index * 37 + 5) % VOCAB);
    using whole = await logitLens(model, ids, { full: true });
    using pieces = await logitLens(small, ids, { full: true });
    const [inPieces, inWhole] = [await pieces.full?.read(), await whole.full?.read()] as [Float32Array, Float32Array];
    expect(relativeError(inPieces, inWhole)).toBeLessThan(TOLERANCE);
    expect(relativeError(pieces.logits, whole.logits)).toBeLessThan(TOLERANCE);
    expect(relativeError(pieces.logProbs, whole.logProbs)).toBeLessThan(TOLERANCE);
  });

  it("refuses what does not exist", async () => {
    const subject = await subjectOf("llama");
    using model = subject.model;
    const refused = (options: Parameters<typeof logitLens>[2], message: RegExp) =>
      expect(logitLens(model, subject.ids, options)).rejects.toThrow(message);
    await refused({ layers: [4] }, /layers go from 0 to 3/);
    await refused({ layers: [] }, /layers is empty/);
    await refused({ positions: [6] }, /Batch entry 1 has no position 6/);
    await refused({ topK: 0 }, /from 1 to 96/);
    await refused({ tokens: [96] }, /0 to 95/);
    await refused({ tokens: [] }, /tokens is empty/);
    const result = await logitLens(model, subject.ids);
    expect(() => result.at("3_pre")).toThrow(/0_pre, 1_pre, 2_pre, final_post/);
    expect(() => result.at("0_pre", 6, 1)).toThrow(/position 6 of batch entry 1/);
  });
});
