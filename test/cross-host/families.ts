/** Every family against what transformers computed: logits, residual around each block, attention pattern. */
import { type ActivationCache, loadModel, parseHeader, toFloat32 } from "../../src/index.ts";
import { byDayIn, type Check, type CheckContext, expectEqual } from "./harness.ts";

/** Largest difference allowed, as a part of the largest value expected. float32 gives about 1e-6. */
export const TOLERANCE = 1e-4;

export const FAMILIES = [
  "bloom",
  "cohere",
  "falcon",
  "gemma",
  "gemma2",
  "gemma3",
  "gpt2",
  "gpt_neo",
  "gpt_neox",
  "gpt_neox_sequential",
  "gptj",
  "granite",
  "llama",
  "llama3_rope",
  "mistral",
  "olmo2",
  "opt",
  "phi",
  "phi3",
  "qwen2",
  "qwen3",
  "smollm3",
  "stablelm",
  "starcoder2",
] as const;

/** All tensors of a safetensors fixture as f32. */
export async function fixtureTensors(context: CheckContext, path: string): Promise<Map<string, Float32Array>> {
  const bytes = await context.loadFixture(path);
  const { tensors } = parseHeader(bytes, bytes.length, path);
  return new Map(tensors.map((info) => [info.name, toFloat32(bytes.slice(info.byteStart, info.byteEnd), info.dtype)]));
}

/** Largest difference over largest expected magnitude; throws beyond the tolerance. */
export function checkClose(actual: Float32Array, expected: Float32Array, what: string, tolerance = TOLERANCE): number {
  if (actual.length !== expected.length)
    throw new Error(`${what}: ${actual.length} numbers, expected ${expected.length}`);
  let difference = 0;
  let largest = 0;
  expected.forEach((value, index) => {
    difference = Math.max(difference, Math.abs(value - (actual[index] as number)));
    largest = Math.max(largest, Math.abs(value));
  });
  const relative = difference / largest;
  if (!(relative <= tolerance)) throw new Error(`${what}: relative error ${relative}, allowed ${tolerance}`);
  return relative;
}

/** GPT-2 ties its head and stores blocks as [in, out]: a weight that is turned around, and one that is not. */
const weightCheck: Check = {
  name: "weights are read as the checkpoint has them",
  async run(context) {
    const stored = await fixtureTensors(context, "families/gpt2/model.safetensors");
    const model = await loadModel(`${context.fixtureUrl}families/gpt2`, { gpu: await context.gpu() });
    try {
      const { dModel, vocabSize } = model.spec;
      const embedding = stored.get("transformer.wte.weight") as Float32Array;
      const turned = Float32Array.from(
        embedding,
        (_, i) => embedding[(i % vocabSize) * dModel + Math.floor(i / vocabSize)] as number,
      );
      expectEqual((await model.weight("W_U")).data.join(), turned.join(), "W_U");
      const { data } = await model.weight("blocks.1.mlp.W_in");
      expectEqual(data.join(), (stored.get("transformer.h.1.mlp.c_fc.weight") as Float32Array).join(), "W_in");
      return `${model.weightNames().length} weights`;
    } finally {
      model.destroy();
    }
  },
};

/** Positions that are learnt and turned, both norms. In Node test/engine/golden.test.ts has all. */
export const IN_CHROMIUM = ["gemma2", "gpt2"];
const byDay = byDayIn({ node: IN_CHROMIUM, browser: IN_CHROMIUM });

const goldenChecks: Check[] = FAMILIES.map((family) => ({
  name: `${family} gives Hugging Face's logits, residuals and patterns`,
  ...byDay(family),
  async run(context) {
    const golden = await fixtureTensors(context, `families/${family}/golden.safetensors`);
    const flat = [...(golden.get("input_ids") as Float32Array)];
    const ids = [flat.slice(0, flat.length / 2), flat.slice(flat.length / 2)];
    const model = await loadModel(`${context.fixtureUrl}families/${family}`, { gpu: await context.gpu() });
    // Once plain, on the fused kernels, and once looking at everything, on the kernels with points between.
    const plain = await model.forward(ids);
    const looked = await model.forward(ids, {
      capture: ["blocks.*.hook_resid_pre", "blocks.*.hook_resid_post", "*hook_pattern"],
    });
    try {
      const logits = checkClose(await plain.logits.read(), golden.get("logits") as Float32Array, "logits");
      checkClose(await looked.logits.read(), golden.get("logits") as Float32Array, "logits of the run with captures");
      const [residual, pattern] = await checkInside(looked.cache, golden, model.spec.nLayers);
      const show = (value: number) => value.toExponential(1);
      return `logits ${show(logits)}, residual ${show(residual)}, pattern ${show(pattern)}`;
    } finally {
      plain.destroy();
      looked.destroy();
      model.destroy();
    }
  },
}));

export const familyChecks: Check[] = [...goldenChecks, weightCheck];

async function checkInside(
  cache: ActivationCache,
  golden: ReadonlyMap<string, Float32Array>,
  nLayers: number,
): Promise<[number, number]> {
  let residual = 0;
  let pattern = 0;
  const compare = async (point: string, tensor: string) =>
    checkClose(await cache.read(point), golden.get(tensor) as Float32Array, `${point} against ${tensor}`);
  for (let layer = 0; layer < nLayers; layer++) {
    residual = Math.max(residual, await compare(`blocks.${layer}.hook_resid_pre`, `hidden.${layer}`));
    residual = Math.max(residual, await compare(`blocks.${layer}.hook_resid_post`, `hidden.${layer + 1}`));
    pattern = Math.max(pattern, await compare(`blocks.${layer}.attn.hook_pattern`, `pattern.${layer}`));
  }
  return [residual, pattern];
}
