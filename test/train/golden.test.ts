/** Training is PyTorch's: losses, norms of the gradients and rates of thirty steps, and the weights after them. */
import { readFile } from "node:fs/promises";
import { expect, it } from "vitest";
import { loadModel } from "../../src/hooks/index.ts";
import { train } from "../../src/train/index.ts";
import { tensorsOf, valuesOf } from "../support/fixtures.ts";
import { testGpu } from "../support/gpu.ts";
import { relativeError } from "../support/numbers.ts";
import { folderOf, RECIPE, recorded, STEPS, weightsOf } from "./support.ts";

it.each(["llama", "gpt2"])("of %s", async (family) => {
  using model = await loadModel(folderOf(family), { gpu: await testGpu() });
  const { data, losses, gradNorms, lrs } = await recorded(family);
  const steps = await train({ model, data, steps: STEPS, ...RECIPE });
  // Seen: 2e-7, 5e-7.
  steps.forEach(({ loss, gradNorm, lr }, index) => {
    expect(Math.abs(loss / (losses[index] as number) - 1)).toBeLessThan(1e-5);
    expect(Math.abs(gradNorm / (gradNorms[index] as number) - 1)).toBeLessThan(1e-5);
    expect(lr).toBeCloseTo(lrs[index] as number, 8);
  });
  const after = await weightsOf(model);
  for (const tensor of tensorsOf(await readFile(`${folderOf(family)}/final.safetensors`))) {
    const [own, should] = [after.get(tensor.name) as Float32Array, valuesOf(tensor)];
    if (tensor.name.endsWith("c_attn.bias")) {
      // The bias of keys changes no softmax. Its gradient is rounding, some 1e-9, of which AdamW makes steps of the full rate.
      const third = own.length / 3;
      for (const values of [own, should]) values.fill(0, third, 2 * third);
    }
    expect(relativeError(own, should), tensor.name).toBeLessThan(1e-4);
  }
});
