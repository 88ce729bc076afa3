/** Attention summaries and head scores: against captured patterns summed up in the test, and against patterns set by hand. */
import { describe, expect, it } from "vitest";
import type { Edit } from "../../src/hooks/edit.ts";
import type { HookedModel } from "../../src/hooks/hooked-model.ts";
import {
  attentionSummary,
  duplicateTokenScores,
  type HeadKind,
  headScores,
  inductionScores,
  previousTokenScores,
  repeatedRandomTokens,
} from "../../src/hooks/readouts/index.ts";
import { relativeError } from "../support/numbers.ts";
import { capture, placesOf, type Subject, subjectOf } from "./definitions.ts";

/** The summary's pass fuses the attention that the captured one takes apart, and gemma2 carries the last digit on: seen 2.2e-6. */
const TOLERANCE = 5e-6;
const HEADS = 4;
const PATTERNS = [0, 1, 2].map((layer) => `blocks.${layer}.attn.hook_pattern`);

/** Reads [row, head, query, key] of a captured pattern, for queries and keys up to `width`. */
async function patternsOf(subject: Subject) {
  const read = await capture(subject, PATTERNS);
  const width = Math.max(...subject.ids.map((ids) => ids.length));
  return (layer: number, head: number, row: number, query: number): number[] => {
    const start = ((row * HEADS + head) * width + query) * width;
    return [...read(PATTERNS[layer] as string).subarray(start, start + query + 1)];
  };
}

describe.each(["gpt2", "gemma2", "bloom"])("attentionSummary of %s", (name) => {
  it("gives entropy, distance, first token and most attended positions of every query", async () => {
    const subject = await subjectOf(name);
    using model = subject.model;
    const pattern = await patternsOf(subject);
    const layers = [2, 0];
    const summary = await attentionSummary(model, subject.ids, { layers, topK: 2 });
    expect(summary.shape).toEqual([2, HEADS, 2, 9]);
    expect(summary.layers).toEqual(layers);
    const places = placesOf(subject.ids);
    for (const [place, layer] of layers.entries()) {
      for (let head = 0; head < HEADS; head++) {
        const expected = places.map(({ row, position }) => {
          const a = pattern(layer, head, row, position);
          const order = a.map((weight, key) => ({ weight, key })).sort((x, y) => y.weight - x.weight || x.key - y.key);
          return {
            entropy: -a.reduce((sum, weight) => sum + (weight > 0 ? weight * Math.log(weight) : 0), 0),
            distance: a.reduce((sum, weight, key) => sum + weight * (position - key), 0),
            first: a[0] as number,
            order,
          };
        });
        const at = places.map(({ index }) => (place * HEADS + head) * 18 + index);
        for (const what of ["entropy", "distance", "first"] as const) {
          const values = expected.map((one) => one[what]);
          expect(
            relativeError(
              at.map((index) => summary[what][index] as number),
              values,
            ),
          ).toBeLessThan(TOLERANCE);
          const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
          expect(summary.mean[what][place * HEADS + head]).toBeCloseTo(mean, 5);
        }
        for (const [query, index] of at.entries()) {
          const { order } = expected[query] as (typeof expected)[number];
          const count = Math.min(2, order.length);
          const weights = [...summary.topWeights.subarray(2 * index, 2 * index + count)];
          expect(
            relativeError(
              weights,
              order.slice(0, count).map(({ weight }) => weight),
            ),
          ).toBeLessThan(TOLERANCE);
          expect([...summary.topPositions.subarray(2 * index, 2 * index + count)]).toEqual(
            order.slice(0, count).map(({ key }) => key),
          );
        }
      }
    }
    expect(summary.entropy[9 + 7]).toBe(0);
    const narrow = await attentionSummary(model, subject.ids, { layers, topK: 2, memoryBudget: 1 });
    expect(relativeError(narrow.entropy, summary.entropy)).toBeLessThan(TOLERANCE);
    expect(narrow.topPositions).toEqual(summary.topPositions);
  });
});

describe("headScores", () => {
  const MATCHES: Record<HeadKind, (ids: number[], query: number, key: number) => boolean> = {
    previous: (_, query, key) => key === query - 1,
    duplicate: (ids, query, key) => key < query && ids[key] === ids[query],
    induction: (ids, query, key) => key > 0 && ids[key - 1] === ids[query],
  };

  it.each([
    [false, false],
    [true, false],
    [false, true],
    [true, true],
  ])(
    "is the share of attention on the pattern (first excluded %s, current excluded %s)",
    async (excludeFirst, excludeCurrent) => {
      const subject = await subjectOf("gpt2");
      subject.ids = [
        [5, 9, 5, 5, 9, 30, 31, 9],
        [7, 7, 2, 7, 2],
      ];
      using model = subject.model;
      const pattern = await patternsOf(subject);
      for (const kind of ["previous", "duplicate", "induction"] as const) {
        const scores = await headScores(model, subject.ids, kind, { excludeFirst, excludeCurrent });
        for (const layer of [0, 1, 2]) {
          for (let head = 0; head < HEADS; head++) {
            const shares = subject.ids.map((ids, row) => {
              let [matching, total] = [0, 0];
              for (let query = 0; query < ids.length; query++) {
                pattern(layer, head, row, query).forEach((weight, key) => {
                  if ((excludeFirst && key === 0) || (excludeCurrent && key === query)) return;
                  total += weight;
                  if (MATCHES[kind](ids, query, key)) matching += weight;
                });
              }
              return matching / total;
            });
            expect(scores.at(layer, head)).toBeCloseTo(((shares[0] as number) + (shares[1] as number)) / 2, 5);
          }
        }
      }
    },
  );

  it("refuses what it cannot score", async () => {
    const { model } = await subjectOf("gpt2");
    using _ = model;
    await expect(headScores(model, [1, 2], "copy" as HeadKind)).rejects.toThrow(
      /kind is "copy"; it must be one of "previous", "duplicate", "induction"/,
    );
    await expect(headScores(model, { inputsEmbeds: [new Float32Array(32)] }, "previous")).rejects.toThrow(
      /compare tokens/,
    );
    await expect(headScores(model, [1, 2], "previous", { layers: [3] })).rejects.toThrow(/0 to 2/);
    const scores = await headScores(model, [1, 2], "previous", { layers: [1] });
    expect(() => scores.at(0, 0)).toThrow(/Scored: layers 1/);
  });
});

describe("scores on repeated random tokens", () => {
  /** Makes head 2 of block 1 attend to the key `back` before each query, and head 3 half to it. */
  const attendBack = (back: number): Edit[] =>
    [[2, 1] as const, [3, 0.5] as const].map(([head, share]) => ({
      at: "blocks.1.attn.hook_pattern",
      op: "wgsl",
      heads: [head],
      expression: `select(0.0, ${share.toFixed(1)}, d + ${back}u == p)`,
    }));

  const KINDS = [
    ["induction", inductionScores, 12 - 1],
    ["duplicate", duplicateTokenScores, 12],
    ["previous", previousTokenScores, 1],
  ] as const;

  it.each(KINDS)(
    "give 1 to a head that looks where an %s head does, and what it gives to others",
    async (_, score, back) => {
      const { model } = await subjectOf("gpt2");
      using _model = model;
      await model.withEdits(attendBack(back), async (edited) => {
        const scores = await score(edited, { length: 12, bos: 3, batch: 2 });
        expect(scores.at(1, 2)).toBeCloseTo(1, 6);
        expect(scores.at(1, 3)).toBeCloseTo(0.5, 6);
        expect(scores.top(1)).toEqual([{ layer: 1, head: 2, score: scores.at(1, 2) }]);
      });
      for (const [, other, otherBack] of KINDS) {
        if (otherBack === back) continue;
        await model.withEdits(attendBack(otherBack), async (edited) => {
          expect((await score(edited, { length: 12, bos: 3, batch: 2 })).at(1, 2)).toBe(0);
          expect((await other(edited, { length: 12, batch: 1 })).at(1, 2)).toBeCloseTo(1, 6);
        });
      }
    },
  );

  it("are means over the second copy, by the captured pattern", async () => {
    const subject = await subjectOf("llama");
    using model = subject.model;
    subject.ids = repeatedRandomTokens(model, { seed: 7, length: 6, bos: 1, batch: 3 });
    const pattern = await patternsOf(subject);
    for (const [, score, back] of [
      ["", inductionScores, 5],
      ["", duplicateTokenScores, 6],
      ["", previousTokenScores, 1],
    ] as const) {
      const scores = await score(model, { seed: 7, length: 6, bos: 1, batch: 3, layers: [0, 2] });
      expect(scores.values.length).toBe(2 * HEADS);
      for (const layer of [0, 2]) {
        for (let head = 0; head < HEADS; head++) {
          let sum = 0;
          for (let row = 0; row < 3; row++) {
            for (let query = 7; query < 13; query++) sum += pattern(layer, head, row, query)[query - back] as number;
          }
          expect(scores.at(layer, head)).toBeCloseTo(sum / 18, 6);
        }
      }
    }
  });

  it("come from sequences that repeat, without repeats inside, by seed", async () => {
    const { model } = await subjectOf("llama");
    using _ = model;
    const sequences = (options: Parameters<typeof repeatedRandomTokens>[1]) =>
      repeatedRandomTokens(model as HookedModel, options);
    const ids = sequences({ seed: 3, bos: 40, batch: 5, length: 20, tokens: { from: 30, to: 60 } });
    expect(ids).toEqual(sequences({ seed: 3, bos: 40, batch: 5, length: 20, tokens: { from: 30, to: 60 } }));
    expect(ids).not.toEqual(sequences({ seed: 4, bos: 40, batch: 5, length: 20, tokens: { from: 30, to: 60 } }));
    expect(new Set(ids.map(String)).size).toBe(5);
    for (const list of ids) {
      expect(list[0]).toBe(40);
      expect(list.slice(1, 21)).toEqual(list.slice(21));
      expect(new Set(list.slice(1)).size).toBe(20);
      expect(list.slice(1).every((id) => id >= 30 && id < 60 && id !== 40)).toBe(true);
    }
    expect(sequences({ bos: null })[0]).toHaveLength(100);
    for (const [options, message] of [
      [{ length: 65, bos: null }, /from 2 to 64/],
      [{ length: 64, bos: 0 }, /from 2 to 63/],
      [{ length: 11, tokens: { from: 0, to: 10 } }, /from 2 to 10/],
      [{ tokens: { from: 90, to: 97 } }, /within 0 to 96/],
      [{ batch: 0 }, /batch is 0/],
    ] as const) {
      expect(() => sequences(options)).toThrow(message);
    }
  });
});
