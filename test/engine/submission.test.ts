/** What a forward asks of the queue: one pass in one submission, and a copy of what is read. */
import { expect, it, vi } from "vitest";
import { loadFixture } from "../support/fixtures.ts";
import { ownGpu } from "../support/gpu.ts";

it.each(["gpt2", "llama", "gemma2"])("%s: a forward is one compute pass in one submission", async (family) => {
  const gpu = await ownGpu();
  using model = await loadFixture(family, { gpu });
  (await model.forward([5, 6, 7])).destroy(); // compiles
  const encoders = vi.spyOn(gpu.device, "createCommandEncoder");
  const passes = vi.spyOn(Object.getPrototypeOf(gpu.device.createCommandEncoder()), "beginComputePass");
  encoders.mockClear();
  const submits = gpu.counters.submits;
  try {
    (await model.forward([5, 6, 7, 8])).destroy();
    expect(gpu.counters.submits - submits).toBe(1);
    expect(encoders).toHaveBeenCalledTimes(1);
    expect(passes).toHaveBeenCalledTimes(1);
  } finally {
    passes.mockRestore();
    encoders.mockRestore();
  }
});
