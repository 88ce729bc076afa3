/** Captures and key-value caches may get buffers that were used before: what was there never shows. */
import { describe, expect, it, vi } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { type Edit, HookedModel, metric } from "../../src/hooks/index.ts";
import { loadFixture } from "../support/fixtures.ts";
import { gpuTakenForHardware, testGpu } from "../support/gpu.ts";
import { byDay } from "../support/nightly.ts";

const BATCHES = {
  even: [
    [5, 6, 7, 8],
    [9, 1, 2, 3],
  ],
  ragged: [
    [5, 6, 7, 8],
    [9, 1],
  ],
};

const FAMILIES = ["gpt2", "llama", "gemma2", "bloom", "gpt_neox", "qwen3"];

/** Runs `work` with NaN in every buffer that the reuse cache gives out. */
async function withPoison<T>({ reuseCache, device }: Gpu, work: () => Promise<T>): Promise<T> {
  const acquire = reuseCache.acquire.bind(reuseCache);
  const poisoned = vi.spyOn(reuseCache, "acquire").mockImplementation((bytes, usage, label) => {
    const buffer = acquire(bytes, usage, label);
    if (label !== "readback") device.queue.writeBuffer(buffer, 0, new Uint32Array(buffer.size / 4).fill(0x7fc00000));
    return buffer;
  });
  try {
    return await work();
  } finally {
    expect(poisoned).toHaveBeenCalled();
    poisoned.mockRestore();
  }
}

it.each(FAMILIES)("%s: captures", async (family) => {
  const model = new HookedModel(await loadFixture(family));
  const valuesOf = async (batch: number[][]) => {
    using result = await model.forward(batch, { capture: "*" });
    const values: Record<string, Float32Array> = {};
    for (const name of result.cache.names) values[name] = await result.cache.tensor(name).read();
    return { logits: await result.logits.read(), values };
  };
  for (const batch of Object.values(BATCHES)) {
    const expected = await valuesOf(batch);
    expect(await withPoison(model.gpu, () => valuesOf(batch))).toEqual(expected);
  }
  model.destroy();
});

describe.each([
  ["as this adapter computes it", testGpu, ["gpt2", "qwen3"]],
  ["as GPUs do", gpuTakenForHardware, ["qwen3"]],
] as const)("caches, %s", (_name, gpu, day) => {
  it.each(byDay(FAMILIES, day))(
    "%s: forwards, sweeps, generation that grows, forks, log probabilities",
    async (family) => {
      const model = new HookedModel(await loadFixture(family, { gpu: await gpu() }));
      const cells = Array.from({ length: model.spec.nLayers }, (_, layer): Edit[][] => [
        [{ at: `blocks.${layer}.hook_resid_pre`, positions: [2], op: "zero" }],
        [{ at: `blocks.${layer}.attn.hook_z`, positions: [5], heads: [0], op: "zero" }],
        [{ at: `blocks.${layer}.attn.hook_v`, positions: [0], op: "scale", value: 2 }],
      ]).flat();
      const everything = async () => {
        using result = await model.forward([[5, 6, 7, 8, 9, 10, 11], [9, 1], [3]]);
        const { values } = await model.sweep({ input: [5, 6, 7, 8, 9, 10, 11], cells, metric: metric.logit(3) });
        using cache = model.createKvCache({ sequences: 2, capacity: 4 });
        const tokens = [];
        for await (const step of model.generate([[5, 6, 7], [1]], { kv: cache, maxNewTokens: 12, ignoreEos: true })) {
          tokens.push(step.tokens);
        }
        using fork = cache.fork([1, 0, 1]);
        using further = await model.forward([[2, 3], [4], [6, 6, 6, 6]], { kv: fork });
        const answers = await model.logProbs([5, 6, 7], [[1, 2], [3], [4, 5, 6]]);
        const logits = [await result.logits.read(), await further.logits.read()];
        return { logits, values, tokens, answers };
      };
      const expected = await everything();
      expect(await withPoison(model.gpu, everything)).toEqual(expected);
      model.destroy();
    },
  );
});
