/**
 * What an adapter binds at once does not change training: gradients and moments then lie in more buffers, matrices in parts, and
 * AdamW takes more dispatches.
 */
import { expect, it } from "vitest";
import { loadModel } from "../../src/hooks/index.ts";
import { WeightGradients } from "../../src/model/weights/gradients.ts";
import { tensorNames } from "../../src/model/weights/tensors.ts";
import { train } from "../../src/train/index.ts";
import { gpuWithLimits, testGpu } from "../support/gpu.ts";
import { relativeError } from "../support/numbers.ts";
import { folderOf, RECIPE, recorded, weightsOf } from "./support.ts";

/** Bytes that make of llama's gradients one buffer, some of a few tensors each, and one for each part of a matrix. */
const BOUND = [undefined, 24_576, 4096];

it("trains the same whatever an adapter binds at once", async () => {
  const { data } = await recorded("llama");
  const short = data.slice(0, 3).map(({ ids }) => ({ ids: [ids[0]?.slice(0, 6), ids[1]?.slice(0, 4)] as number[][] }));
  const runs = [];
  for (const bound of BOUND) {
    const gpu = bound ? await gpuWithLimits({ maxStorageBufferBindingSize: bound }) : await testGpu();
    using model = await loadModel(folderOf("llama"), { gpu });
    const { weights } = model.base.engine;
    using gradients = new WeightGradients(gpu, weights, tensorNames(weights));
    const buffers = gradients.memory.buffers.length;
    const steps = await train({ model, data: short, steps: short.length, ...RECIPE });
    runs.push({ buffers, steps, weights: await weightsOf(model) });
  }
  const [whole, few, many] = runs as [(typeof runs)[number], (typeof runs)[number], (typeof runs)[number]];
  expect(whole.buffers).toBe(1);
  expect(few.buffers).toBeGreaterThan(2);
  expect(many.buffers).toBeGreaterThan(2 * few.buffers);
  for (const { steps, weights } of [few, many]) {
    steps.forEach(({ loss, gradNorm }, index) => {
      expect(loss).toBeCloseTo(whole.steps[index]?.loss as number, 5);
      expect(gradNorm).toBeCloseTo(whole.steps[index]?.gradNorm as number, 5);
    });
    for (const [name, values] of weights)
      expect(relativeError(values, whole.weights.get(name) as Float32Array), name).toBeLessThan(1e-5);
  }
});
