/** Readouts from a cache give what they give from the input, refuse caches that do not fit, and leave no memory behind. */
import { describe, expect, it } from "vitest";
import { HookedModel } from "../../src/hooks/hooked-model.ts";
import {
  accumulatedResid,
  attentionSummary,
  decomposeResid,
  directLogitAttribution,
  headResults,
  inductionScores,
  logitLens,
  type ReadoutSource,
} from "../../src/hooks/readouts/index.ts";
import { loadFixture } from "../support/fixtures.ts";
import { ownGpu } from "../support/gpu.ts";
import { relativeError } from "../support/numbers.ts";
import { subjectOf } from "./definitions.ts";

/** Each readout as numbers. */
const READOUTS: Record<string, (model: HookedModel, source: ReadoutSource) => Promise<ArrayLike<number>>> = {
  async accumulatedResid(model, source) {
    using stack = await accumulatedResid(model, source, { applyLn: "run", includeMid: true, positions: [-1, 2] });
    return stack.read();
  },
  async decomposeResid(model, source) {
    using stack = await decomposeResid(model, source, { heads: true, applyLn: true, positions: [-1, 2] });
    return stack.read();
  },
  async headResults(model, source) {
    using stack = await headResults(model, source, { positions: [4, 0] });
    return stack.read();
  },
  async directLogitAttribution(model, source) {
    return (await directLogitAttribution(model, source, { tokens: [4, 5], by: "neuron" })).values;
  },
  async logitLens(model, source) {
    return (await logitLens(model, source, { applyFinalNorm: "run", positions: [-2] })).logits;
  },
  async attentionSummary(model, source) {
    return (await attentionSummary(model, source)).entropy;
  },
};

describe.each(Object.keys(READOUTS))("%s", (name) => {
  const readout = READOUTS[name] as (typeof READOUTS)[string];

  it("reads a cache, a result or the input alike", async () => {
    for (const family of ["gpt2", "olmo2"]) {
      const { model, ids } = await subjectOf(family);
      using _ = model;
      const fromInput = await readout(model, ids);
      // Heads come from hook_z here, which runWithCache keeps, and from hook_result above.
      using result = await model.runWithCache(ids, name === "attentionSummary" ? { capture: "*.hook_pattern" } : {});
      expect(relativeError(await readout(model, result), fromInput)).toBeLessThan(3e-6);
      expect(relativeError(await readout(model, result.cache), fromInput)).toBeLessThan(3e-6);
    }
  });

  it("refuses a cache without what it reads, of another model, or destroyed", async () => {
    const { model, ids } = await subjectOf("gpt2");
    using _ = model;
    using empty = await model.forward(ids, { capture: "blocks.0.hook_attn_out" });
    await expect(readout(model, empty)).rejects.toMatchObject({ code: "hook/not-captured" });
    using other = new HookedModel(await loadFixture("opt"));
    using theirs = await other.runWithCache(ids, { capture: () => true });
    using gpu = { value: await ownGpu(), [Symbol.dispose]: () => gpu.value.trim() };
    using elsewhere = new HookedModel(await loadFixture("gpt2", { gpu: gpu.value }));
    await expect(readout(elsewhere, theirs)).rejects.toMatchObject({ code: "hook/other-model" });
    const gone = await model.runWithCache(ids, { capture: () => true });
    gone.destroy();
    await expect(readout(model, gone)).rejects.toMatchObject({ code: "hook/cache-destroyed" });
  });
});

describe("readouts", () => {
  it("tell a cache of a model of another shape", async () => {
    const { model, ids } = await subjectOf("gemma2");
    using _ = model;
    using other = new HookedModel(await loadFixture("llama"));
    using fromZ = await other.forward(ids, { capture: "*hook_z" });
    await expect(headResults(model, fromZ)).rejects.toMatchObject({ code: "hook/other-model" });
  });

  it("leave memory where it was", async () => {
    const gpu = await ownGpu();
    const model = new HookedModel(await loadFixture("gemma2", { gpu }));
    const ids = [
      [1, 2, 3, 4, 5, 6],
      [7, 8, 9, 10, 11],
    ];
    const { accumulatedResid: _, ...readouts } = READOUTS;
    const all = async () => {
      for (const readout of Object.values(readouts)) await readout(model, ids);
      await inductionScores(model, { length: 8 });
      await logitLens(model, ids, { full: true }).then((lens) => lens.destroy());
      await expect(decomposeResid(model, ids, { layer: 9 })).rejects.toThrow();
      await expect(logitLens(model, ids, { positions: [99], full: true })).rejects.toThrow();
    };
    await all();
    await all();
    const before = { ...gpu.memory };
    for (let round = 0; round < 5; round++) await all();
    expect(gpu.memory).toEqual(before);
    model.destroy();
    gpu.trim();
  });

  it("stop early where edits come later", async () => {
    const { model, ids } = await subjectOf("gpt2");
    using _ = model;
    using plain = await decomposeResid(model, ids, { layer: 1 });
    await model.withEdits([{ at: "blocks.*.hook_attn_out", op: "zero" }], async (edited) => {
      using stack = await decomposeResid(edited, ids, { layer: 1 });
      expect(await stack.read("embed")).toEqual(await plain.read("embed"));
      expect((await stack.read("0_attn_out")).every((value) => value === 0)).toBe(true);
    });
  });

  it("answer at a view whose edits have ended as the model does", async () => {
    const { model, ids } = await subjectOf("gpt2");
    using _ = model;
    let kept: HookedModel = model;
    await model.withEdits([], async (edited) => {
      kept = edited;
    });
    for (const readout of Object.values(READOUTS)) {
      await expect(readout(kept, ids)).rejects.toMatchObject({ code: "hook/scope-ended" });
    }
  });
});
