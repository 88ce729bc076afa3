/**
 * Models that look both ways: each sequence is computed whole, whatever runs beside it, and what goes on from token to token is
 * refused. That the numbers are transformers' is for test/families/config-cases.test.ts to show.
 */
import { beforeAll, describe, expect, it } from "vitest";
import { describeSpec } from "../../src/cli/describe-spec.ts";
import { HookedModel } from "../../src/hooks/hooked-model.ts";
import { metric } from "../../src/hooks/index.ts";
import { attentionSummary } from "../../src/hooks/readouts/index.ts";
import type { Model } from "../../src/model/model.ts";
import { failureOf, randomEdit } from "../hooks/support.ts";
import { loadChanged, randomIds, readLogits } from "../support/fixtures.ts";
import { gpuTakenForHardware, gpuWithLimits } from "../support/gpu.ts";
import { integer, relativeError, seeded } from "../support/numbers.ts";

/** Other kernels may serve other numbers of rows, and they add in another order. */
const TOLERANCE = 3e-6;

/** Grouped queries; learned positions; windows, soft caps and norms after; ALiBi. */
const FAMILIES = ["llama", "gpt2", "gemma2", "bloom"];
const models = new Map<string, Model>();
const modelOf = (family: string) => models.get(family) as Model;

beforeAll(async () => {
  for (const family of FAMILIES) models.set(family, await loadChanged(family, { is_causal: false }));
  return () => {
    for (const model of models.values()) model.destroy();
  };
});

describe.each(FAMILIES)("%s", (family) => {
  it("gives each sequence of a batch what it gets alone, in one pass or in several", async () => {
    const model = modelOf(family);
    const batch = [7, 1, 19, 4].map((length, index) => randomIds(model, index, length));
    const { vocabSize } = model.spec;
    const most = model.engine.maxRowsPerPass;
    for (const rows of [most, 12]) {
      model.engine.maxRowsPerPass = rows;
      const all = await readLogits(model.forward(batch));
      for (const [sequence, ids] of batch.entries()) {
        const mine = all.subarray(sequence * 19 * vocabSize, (sequence * 19 + ids.length) * vocabSize);
        expect(relativeError(mine, await readLogits(model.forward(ids)))).toBeLessThan(TOLERANCE);
      }
    }
    model.engine.maxRowsPerPass = most;
  });

  it("lets the last token change the first one's logits", async () => {
    const model = modelOf(family);
    const ids = randomIds(model, 3, 6);
    const [before, after] = await Promise.all(
      [ids, [...ids.slice(0, 5), ((ids[5] as number) + 1) % 96]].map((each) =>
        readLogits(model.forward(each, { logits: [0] })),
      ),
    );
    expect(relativeError(after as Float32Array, before as Float32Array)).toBeGreaterThan(1e-4);
  });

  it("sweeps give what one full pass a cell gives", async () => {
    const model = new HookedModel(modelOf(family));
    const random = seeded(FAMILIES.indexOf(family) + 70);
    const ids = randomIds(model.base, 9, 11);
    for (const position of [10, 4]) {
      const cells = Array.from({ length: 16 }, () =>
        Array.from({ length: integer(random, 0, 2) }, () => randomEdit(random, model.spec, ids.length)),
      );
      const tokens = [3, 14, 15, 92];
      const { values } = await model.sweep({ input: ids, cells, metric: metric.logits(tokens), position });
      for (const [cell, edits] of cells.entries()) {
        using result = await model.forward(ids, { edits });
        const logits = await result.logits.at(0, position);
        const expected = tokens.map((token) => logits[token] as number);
        const error = relativeError(values.slice(4 * cell, 4 * cell + 4), expected);
        expect(error, JSON.stringify(edits)).toBeLessThan(1e-4);
      }
    }
  });
});

it("gives the same by the kernels for hardware", async () => {
  const gpu = await gpuTakenForHardware();
  using model = await loadChanged("gemma2", { is_causal: false }, { gpu });
  const ids = randomIds(model, 5, 30);
  const here = await readLogits(model.forward(ids));
  expect(relativeError(here, await readLogits(modelOf("gemma2").forward(ids)))).toBeLessThan(TOLERANCE);
});

it("edits and summaries reach the keys after the query", async () => {
  const model = new HookedModel(modelOf("llama"));
  const ids = [randomIds(model.base, 4, 5), randomIds(model.base, 6, 9)];
  const at = "blocks.1.attn.hook_pattern";
  const ahead = [{ at, op: "zero" as const, positions: [0], dims: [3] }];
  using plain = await model.forward(ids, { capture: at });
  using edited = await model.forward(ids, { capture: at, edits: ahead });
  const [before, after] = [await plain.cache.read(at), await edited.cache.read(at)];
  expect(before[3]).toBeGreaterThan(0);
  expect(after[3]).toBe(0);
  const { distance, entropy } = await attentionSummary(model, ids, { layers: [1] });
  for (const [row, length] of [5, 9].entries()) {
    const weights = Array.from({ length }, (_, key) => before[((row * 4 + 2) * 9 + 1) * 9 + key] as number);
    const index = (2 * 2 + row) * 9 + 1;
    expect(distance[index]).toBeCloseTo(
      weights.reduce((sum, weight, key) => sum + weight * (1 - key), 0),
      5,
    );
    expect(entropy[index]).toBeCloseTo(-weights.reduce((sum, weight) => sum + weight * Math.log(weight), 0), 5);
  }
  // A sequence ends where it ends: the shorter one of the batch has no key 7.
  const beyond = [{ at, op: "zero" as const, batch: [0], positions: [0], dims: [7] }];
  expect(await failureOf(() => model.forward(ids, { edits: beyond }))).toContain("hook/empty-selection");
});

it("is described as such", () => {
  const lines = new Map(describeSpec(modelOf("gemma2").spec));
  expect(lines.get("attention")).toContain("looks both ways");
  expect(lines.get("window")).toBe("7 positions either way in layers 0, 2");
});

describe("what goes on from token to token is refused", () => {
  it("generation and the probability of answers", async () => {
    const model = modelOf("llama");
    expect(await failureOf(() => model.generate([[1, 2]]).next())).toContain("input/not-causal");
    expect(await failureOf(() => model.logProbs([1, 2], [[3]]))).toContain("input/not-causal");
  });

  it("a second call on a cache, which is left as it was", async () => {
    const model = modelOf("llama");
    using cache = model.createKvCache({ sequences: 2 });
    const ids = randomIds(model, 8, 6);
    const first = await readLogits(model.forward([ids, [2]], { kv: cache }));
    expect(relativeError(first.subarray(0, 6 * 96), await readLogits(model.forward(ids)))).toBeLessThan(TOLERANCE);
    expect(await failureOf(() => model.forward([[1], [2]], { kv: cache }))).toMatch(/input\/not-causal.*Sequence 0/);
    expect(cache.lengths).toEqual([6, 1]);
    // What the message says: the whole sequence in one call.
    cache.restore([0, 0]);
    (await model.forward([[...ids, 1], [2]], { kv: cache })).destroy();
  });

  it("a sequence that does not fit in one pass, and no shorter one", async () => {
    const gpu = await gpuWithLimits({ maxStorageBufferBindingSize: 4 * 96 * 32 });
    using model = await loadChanged("llama", { is_causal: false }, { gpu });
    const most = model.engine.rowsThatFit();
    (await model.forward(randomIds(model, 1, most), { logits: "last" })).destroy();
    const failure = await failureOf(() => model.forward(randomIds(model, 1, most + 1), { logits: "last" }));
    expect(failure).toMatch(new RegExp(`input/not-causal.*${most + 1} tokens are more than the ${most}`));
  });
});
