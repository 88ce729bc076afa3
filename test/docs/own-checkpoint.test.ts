/**
 * The config for nanoGPT in docs/own-checkpoint.md, on weights as nanoGPT names and stores them: the same logits as GPT-2's
 * family gives for them, stored in GPT-2's way.
 */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import type { TensorEntry } from "../../src/checkpoint/index.ts";
import { HookedModel } from "../../src/hooks/index.ts";
import { loadParts } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import { initialFiles } from "../../src/train/initialise.ts";
import { logitsOf } from "../hooks/support.ts";
import { entryOf, sourceOf, tensorsOf, valuesOf } from "../support/fixtures.ts";
import { testGpu } from "../support/gpu.ts";
import { gaussians, relativeError, seeded } from "../support/numbers.ts";

const PAGE = readFileSync(new URL("../../docs/own-checkpoint.md", import.meta.url), "utf8");
const CONFIG = JSON.parse(/```json\n(.*?)```/s.exec(PAGE)?.[1] as string);

/** GPT-2 with the sizes of the page. */
const GPT2 = {
  model_type: "gpt2",
  ...{ n_layer: 3, n_embd: 32, n_head: 4, n_positions: 48, vocab_size: 65, activation_function: "gelu" },
};
const IDS = [1, 5, 9, 33, 64, 0, 7, 7];
/** Matrices that GPT-2 stores as [in, out]. */
const TURNED = /\.(c_attn|c_proj|c_fc)\.weight$/;

/** Every parameter random, so that each matters; biases zero where there are to be none. */
function weights(hasBiases: boolean): TensorEntry[] {
  const random = seeded(4);
  const file = initialFiles(GPT2, { seed: 1 }).get("model.safetensors") as Uint8Array;
  return tensorsOf(file).map((tensor) => {
    const isBias = tensor.name.endsWith(".bias");
    const noise = gaussians(random, valuesOf(tensor).length, 0.3);
    const data = valuesOf(tensor).map((value, at) => (isBias && !hasBiases ? 0 : value + (noise[at] as number)));
    return entryOf(tensor.name, tensor.shape, data);
  });
}

/** A tensor as torch.nn.Linear has it. */
function turned(tensor: TensorEntry): TensorEntry {
  if (!TURNED.test(tensor.name)) return tensor;
  const [rows = 0, columns = 0] = tensor.shape;
  const values = valuesOf(tensor);
  const data = values.map((_, at) => values[(at % rows) * columns + Math.floor(at / rows)] as number);
  return entryOf(tensor.name, [columns, rows], data);
}

async function logits(config: Record<string, unknown>, tensors: TensorEntry[]): Promise<Float32Array> {
  using model = new HookedModel(new Model(await loadParts(sourceOf({ config, tensors }), { gpu: await testGpu() })));
  return await logitsOf(model, IDS);
}

it.each([true, false])("nanoGPT, biases: %s", async (hasBiases) => {
  const tensors = weights(hasBiases);
  const nano = tensors.filter(({ name }) => hasBiases || !name.endsWith(".bias")).map(turned);
  expect(nano.length).toBeLessThan(hasBiases ? tensors.length + 1 : tensors.length);
  expect(relativeError(await logits(CONFIG, nano), await logits(GPT2, tensors))).toBeLessThan(2e-6);
});
