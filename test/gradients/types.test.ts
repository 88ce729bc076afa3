/**
 * Gradients of what only some model types have: sinks, norms without weights or after RoPE, a norm of each head, clamped q, k and v,
 * queries scaled by position, norms after the addition, projected embeddings, latent and chunked attention. On the GPU, against central differences of the
 * float64 decoder along a direction in the space of weights.
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import type { TensorEntry } from "../../src/checkpoint/index.ts";
import { HookedModel } from "../../src/hooks/hooked-model.ts";
import { metric } from "../../src/hooks/metrics.ts";
import { loadParts } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import { lookupIn, ReferenceDecoder } from "../engine/forward.reference.ts";
import { entryOf, sourceOf, tensorsOf, valuesOf } from "../support/fixtures.ts";
import { testGpu } from "../support/gpu.ts";
import { byDay } from "../support/nightly.ts";
import { gaussians, seeded } from "../support/numbers.ts";

const ROOT = fileURLToPath(new URL("../fixtures/types/", import.meta.url));

/** Fixtures, each with the tensors whose part of the gradient is looked at alone. */
const CASES: readonly [name: string, special: RegExp][] = [
  ["granite_swa", /sinks/],
  ["nanochat", /q_proj/],
  ["hunyuan_v1_dense", /layernorm/],
  ["stablelm_qk", /norms\.1/],
  ["olmo_clip", /[qkv]_proj/],
  ["ministral3", /q_proj/],
  ["opt350m", /project|layer_norm/],
  ["openai-gpt", /ln_/],
  ["bloom_respost", /layernorm/],
  ["gpt2_act_mish", /c_fc/],
  ["gpt2_act_laplace", /c_fc/],
  ["gpt2_act_sigmoid", /c_fc/],
  ["arcee", /up_proj/],
  ["phi3_longrope_long", /qkv/],
  ["deepseek_v2", /kv_[ab]_/],
  ["deepseek_v3", /q_[ab]_|kv_[ab]_/],
  ["llama4_text", /[qkv]_proj|router/],
  ["apertus", /alpha_[pn]/],
  ["modernbert-decoder", /lm_head|embeddings/],
  ["gemma4_text", /[kv]_proj/],
  ["gemma4_text_ple", /per_layer|[kv]_proj/],
];
const SHOWN = byDay(
  CASES.map(([name]) => name),
  [
    "granite_swa",
    "stablelm_qk",
    "olmo_clip",
    "ministral3",
    "opt350m",
    "bloom_respost",
    "nanochat",
    "deepseek_v3",
    "llama4_text",
    "apertus",
    "gemma4_text_ple",
  ],
);

const IDS = [3, 41, 7, 90, 12, 55, 8, 29, 61, 77, 2];
const FACTORS = gaussians(seeded(3), 96);

/** A random direction of the tensors that are chosen. */
function directionOf(tensors: readonly TensorEntry[], isChosen: (name: string) => boolean): Map<string, Float64Array> {
  const random = seeded(17);
  return new Map(
    tensors.flatMap(({ name, shape }) => {
      const count = shape.reduce((product, size) => product * size, 1);
      return isChosen(name) ? [[name, Float64Array.from(gaussians(random, count, 0.1))]] : [];
    }),
  );
}

describe.each(CASES.filter(([name]) => SHOWN.includes(name)))("%s", (name, special) => {
  it("has the gradients that differences give", async () => {
    const config = JSON.parse(await readFile(`${ROOT}${name}/config.json`, "utf8"));
    const tensors = tensorsOf(await readFile(`${ROOT}${name}/model.safetensors`));
    using model = new HookedModel(new Model(await loadParts(sourceOf({ config, tensors }), { gpu: await testGpu() })));
    const result = await model.backward([IDS], { metric: metric.weighted(FACTORS), weights: "*" });
    const { weights } = result;
    const measured = (moved: readonly TensorEntry[]) => {
      const logits = new ReferenceDecoder(model.spec, lookupIn(model.spec, moved)).run(IDS).at(-1) as Float64Array;
      return logits.reduce((sum, value, token) => sum + value * (FACTORS[token] as number), 0);
    };
    for (const isChosen of [() => true, (tensor: string) => special.test(tensor)]) {
      const direction = directionOf(tensors, (tensor) => weights.names.includes(tensor) && isChosen(tensor));
      expect(direction.size).toBeGreaterThan(0);
      let along = 0;
      for (const [tensor, by] of direction) {
        const gradient = await weights.read(tensor);
        along += by.reduce((sum, value, i) => sum + value * (gradient[i] as number), 0);
      }
      const step = 1e-4;
      const at = (sign: number) =>
        measured(
          tensors.map((tensor) => {
            const by = direction.get(tensor.name);
            if (!by) return tensor;
            const values = valuesOf(tensor);
            return entryOf(
              tensor.name,
              tensor.shape,
              by.map((value, i) => (values[i] as number) + sign * step * value),
            );
          }),
        );
      const difference = (at(1) - at(-1)) / (2 * step);
      expect(Math.abs(along - difference) / Math.abs(difference)).toBeLessThan(2e-4);
    }
    result.destroy();
  });
});
