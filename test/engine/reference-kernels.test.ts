/** A run that asks for reference kernels: other kernels, the same logits, and nothing of it left on the device. */
import { describe, expect, it, vi } from "vitest";
import type { Gpu } from "../../src/gpu/gpu.ts";
import { loadFixture, readLogits } from "../support/fixtures.ts";
import { withGpu } from "../support/gpu.ts";
import { relativeError } from "../support/numbers.ts";

/** The kernels that `run` compiles, of a `Gpu` that has compiled nothing yet. */
async function compiledBy(gpu: Gpu, run: () => Promise<unknown>): Promise<string[]> {
  const compiles = vi.spyOn(gpu.device, "createComputePipelineAsync");
  try {
    await run();
    return compiles.mock.calls.map(([{ label }]) => label as string);
  } finally {
    compiles.mockRestore();
  }
}

describe("a forward pass", () => {
  it.each(["gpt2", "llama", "gemma2"])("of %s takes them where they are asked for", async (family) => {
    await withGpu(async (gpu) => {
      using model = await loadFixture(family, { gpu });
      const ids = [[1, 2, 3, 4, 5, 6, 7]];
      let reference: Float32Array = new Float32Array();
      const slow = await compiledBy(gpu, async () => {
        reference = await readLogits(model.forward(ids, { kernels: "reference" }));
      });
      let usual: Float32Array = new Float32Array();
      const fast = await compiledBy(gpu, async () => {
        usual = await readLogits(model.forward(ids));
      });
      const chosen = /^(matmul|attention|norm)/;
      const isReference = /^(matmul reference|attention (scores|softmax|mix)$|norm stage$)/;
      expect(slow.filter((name) => chosen.test(name) && !isReference.test(name))).toEqual([]);
      for (const kind of [/^matmul/, /^attention/, /^norm/]) expect(slow.some((name) => kind.test(name))).toBe(true);
      expect(fast.filter((name) => isReference.test(name))).toEqual([]);
      expect(relativeError(usual, reference)).toBeLessThan(1e-5);
    });
  });
});
