/** A dictionary trained here explains activations, brings dead features back, and is read again from the files that are written. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { MemoryStore } from "../../src/checkpoint/index.ts";
import { type HookedModel, loadDictionary, saveDictionary } from "../../src/hooks/index.ts";
import { type DictionaryStep, trainDictionary } from "../../src/train/index.ts";
import { randomIds } from "../hooks/support.ts";
import { relativeError, seeded } from "../support/numbers.ts";
import { hooked } from "./support.ts";

let model: HookedModel;
beforeAll(async () => {
  model = await hooked("gpt2");
});
afterAll(() => model.destroy());

const random = seeded(3);
const BATCHES = Array.from({ length: 8 }, () => Array.from({ length: 6 }, () => randomIds(random, 16)));

describe("trainDictionary", () => {
  it.each([
    ["an autoencoder", "blocks.0.hook_resid_post", undefined],
    ["a transcoder", "blocks.0.mlp.hook_in", "blocks.0.mlp.hook_out"],
  ])("%s", async (_, hook, hookOut) => {
    const steps: DictionaryStep[] = [];
    const before = model.gpu.memory.bytes;
    using dictionary = await trainDictionary({
      ...{ model, hook, hookOut, dSae: 96, k: 12, steps: 160, schedule: { lr: 0.01, decay: 0.3 } },
      data: (step) => BATCHES[step % BATCHES.length]!,
      ...{ resampleEvery: 40, logEvery: 40, seed: 1 },
      onStep: (step) => void steps.push(step),
    });
    expect(steps.map(({ step }) => step)).toEqual([40, 80, 120, 160]);
    expect(steps.at(-1)!.unexplained).toBeLessThan(0.5);
    expect(steps.at(-1)!.loss).toBeLessThan(steps[0]!.loss);
    const store = new MemoryStore();
    await saveDictionary(dictionary, store);
    using again = await loadDictionary(model, store.source());
    expect(again.config.architecture).toBe(hookOut ? "jumprelu_transcoder" : "topk");
    const where = { hook_name: hook, ...(hookOut && { hook_name_out: hookOut }) };
    expect(again.config.metadata).toMatchObject({ ...where, sae_lens_version: "6.0.0", model_name: "gpt2" });
    const acts = `${hook}.hook_sae_acts_post`;
    const seen: Float32Array[] = [];
    for (const each of [dictionary, again]) {
      using spliced = model.withModules(each, { error: false });
      using result = await spliced.forward(BATCHES[0]!, { capture: acts });
      seen.push(await result.cache.read(acts), await result.logits.read());
    }
    expect(relativeError(seen[2]!, seen[0]!)).toBe(0);
    expect(relativeError(seen[3]!, seen[1]!)).toBe(0);
    const active = Array.from(
      { length: 96 },
      (_, row) => seen[0]!.subarray(row * 96, (row + 1) * 96).filter((value) => value > 0).length,
    );
    if (hookOut === undefined) expect(Math.max(...active)).toBeLessThanOrEqual(12);
    else expect(active.reduce((sum, count) => sum + count) / 96).toBeLessThan(16);
    expect(Math.max(...active)).toBeGreaterThan(4);
    again.destroy();
    dictionary.destroy();
    expect(model.gpu.memory.bytes).toBeLessThanOrEqual(before + (1 << 20));
  });

  it("follows the gradient of the loss: a small step makes it smaller by about the step's length times the gradient's", async () => {
    const losses: number[] = [];
    for (const steps of [1, 2]) {
      using _dictionary = await trainDictionary({
        ...{ model, hook: "blocks.0.hook_resid_post", dSae: 64, k: 8, steps, schedule: { lr: 1e-3 }, logEvery: 1 },
        data: () => BATCHES[0]!,
        onStep: ({ loss }) => void losses.push(loss),
      });
    }
    expect(losses[1]).toBe(losses[0]);
    expect(losses[2]).toBeLessThan(losses[1]!);
  });
});
