/** Captures may get buffers that were used before: every element of them is written. */
import { expect, it, vi } from "vitest";
import { HookedModel } from "../../src/hooks/index.ts";
import { loadFixture } from "../support/fixtures.ts";

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

it.each(["gpt2", "llama", "gemma2", "bloom", "gpt_neox", "qwen3"])(
  "%s: nothing of what was there shows",
  async (family) => {
    const inner = await loadFixture(family);
    const model = new HookedModel(inner);
    const { recycler, device } = model.gpu;
    const fresh = recycler.acquire.bind(recycler);
    const valuesOf = async (batch: number[][]) => {
      using result = await model.forward(batch, { capture: "*" });
      const values: Record<string, Float32Array> = {};
      for (const name of result.cache.names) values[name] = await result.cache.tensor(name).read();
      return { logits: await result.logits.read(), values };
    };
    for (const batch of Object.values(BATCHES)) {
      const expected = await valuesOf(batch);
      const poisoned = vi.spyOn(recycler, "acquire").mockImplementation((bytes, usage, label) => {
        const buffer = fresh(bytes, usage, label);
        if (label !== "readback")
          device.queue.writeBuffer(buffer, 0, new Uint32Array(buffer.size / 4).fill(0x7fc00000));
        return buffer;
      });
      expect(await valuesOf(batch)).toEqual(expected);
      expect(poisoned).toHaveBeenCalled();
      poisoned.mockRestore();
    }
    model.destroy();
  },
);
