/** Training is PyTorch's: losses, norms of the gradients and rates of thirty steps, and the weights after them. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { loadParts } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import { piecesOf, readTensor, weightsInMemory } from "../../src/model/weights/tensors.ts";
import { trainModel } from "../../src/train/train.ts";
import { tensorsOf, valuesOf } from "../support/fixtures.ts";
import { testGpu } from "../support/gpu.ts";
import { relativeError } from "../support/numbers.ts";

const ROOT = fileURLToPath(new URL("../fixtures/training/", import.meta.url));
const [STEPS, BATCH, LENGTH] = [30, 8, 48];

async function recorded(folder: string) {
  const run = new Map(tensorsOf(await readFile(`${folder}/run.safetensors`)).map((tensor) => [tensor.name, tensor]));
  const bytes = (name: string) => Uint8Array.from(run.get(name)?.data as Uint8Array);
  const ids = new BigInt64Array(bytes("ids").buffer);
  const mask = bytes("mask");
  const values = (name: string) => valuesOf(run.get(name) as never);
  const rows = <T>(step: number, width: number, at: (index: number) => T) =>
    Array.from({ length: BATCH }, (_, row) =>
      Array.from({ length: width }, (_, t) => at((step * BATCH + row) * width + t)),
    );
  const data = Array.from({ length: STEPS }, (_, step) => ({
    ids: rows(step, LENGTH + 1, (index) => Number(ids[index])),
    mask: rows(step, LENGTH, (index) => mask[index] === 1),
  }));
  return { data, losses: values("losses"), gradNorms: values("gradNorms"), lrs: values("lrs") };
}

it.each(["llama", "gpt2"])("of %s", async (family) => {
  const folder = ROOT + family;
  const model = new Model(await loadParts(folder, { gpu: await testGpu() }));
  const { data, losses, gradNorms, lrs } = await recorded(folder);
  const optimizer = { betas: [0.9, 0.98], eps: 1e-8, weightDecay: 0.01, clip: 1 } as const;
  const steps = await trainModel(model, { data, steps: STEPS, lr: 3e-3, warmup: 5, decay: 0.3, ...optimizer });
  // Seen: 2e-7, 5e-7.
  steps.forEach(({ loss, gradNorm, lr }, index) => {
    expect(Math.abs(loss / (losses[index] as number) - 1)).toBeLessThan(1e-5);
    expect(Math.abs(gradNorm / (gradNorms[index] as number) - 1)).toBeLessThan(1e-5);
    expect(lr).toBeCloseTo(lrs[index] as number, 8);
  });
  const after = tensorsOf(await readFile(`${folder}/final.safetensors`));
  const memory = weightsInMemory(model.engine.weights);
  for (const tensor of after) {
    const [own, should] = [await readTensor(model.gpu, piecesOf(memory, tensor.name)), valuesOf(tensor)];
    if (tensor.name.endsWith("c_attn.bias")) {
      // The bias of keys changes no softmax. Its gradient is rounding, some 1e-9, of which AdamW makes steps of the full rate.
      const third = own.length / 3;
      for (const values of [own, should]) values.fill(0, third, 2 * third);
    }
    expect(relativeError(own, should), tensor.name).toBeLessThan(1e-4);
  }
  model.destroy();
});
