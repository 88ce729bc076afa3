/** The recorded run of thirty steps with PyTorch, and what a model's weights are. */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { HookedModel } from "../../src/hooks/index.ts";
import { piecesOf, readTensor, tensorNames, weightsInMemory } from "../../src/model/weights/tensors.ts";
import { tensorsOf, valuesOf } from "../support/fixtures.ts";

const ROOT = fileURLToPath(new URL("../fixtures/training/", import.meta.url));
export const STEPS = 30;
const [BATCH, LENGTH] = [8, 48];

export const folderOf = (family: string) => ROOT + family;

/** The recipe of the recorded runs. */
export const RECIPE = {
  schedule: { lr: 3e-3, warmup: 5, decay: 0.3 },
  optimizer: { betas: [0.9, 0.98], eps: 1e-8, weightDecay: 0.01, clip: 1 } as { betas: [number, number] },
};

/** Batches with what PyTorch recorded of each step. */
export async function recorded(family: string) {
  const tensors = tensorsOf(await readFile(`${folderOf(family)}/run.safetensors`));
  const run = new Map(tensors.map((tensor) => [tensor.name, tensor]));
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

/** The same batches cut to three short sequences, for what does not depend on their size. */
export const small = <Batch extends { ids: number[][]; mask: boolean[][] }>(data: readonly Batch[]) =>
  data.map(({ ids, mask }) => ({
    ids: ids.slice(0, 3).map((list) => list.slice(0, 17)),
    mask: mask.slice(0, 3).map((list) => list.slice(0, 16)),
  }));

/** The weights as they are now, by the checkpoint's names. */
export async function weightsOf({ gpu, engine }: HookedModel): Promise<Map<string, Float32Array>> {
  const memory = weightsInMemory(engine.weights);
  const read = new Map<string, Float32Array>();
  for (const name of tensorNames(engine.weights)) read.set(name, await readTensor(gpu, piecesOf(memory, name)));
  return read;
}
