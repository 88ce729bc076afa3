/** Initial weights: for every family a model that loads and computes, spread as said, and the same bits for the same seed. */
import { describe, expect, it } from "vitest";
import { openCheckpoint, toFloat32 } from "../../src/checkpoint/index.ts";
import { loadModel } from "../../src/hooks/index.ts";
import { specFromConfig } from "../../src/model/families/index.ts";
import type { WeightName } from "../../src/model/spec.ts";
import { neededTensors } from "../../src/model/weights/needed.ts";
import { INIT_NAMES, type Init, initialWeights } from "../../src/train/index.ts";
import { normalQuantile } from "../../src/train/normal.ts";
import { FIXTURES, fixtureConfig, fixtureShapes } from "../families/fixtures.ts";
import { testGpu } from "../support/gpu.ts";

/** Wide enough that a deviation is known to a few per cent. */
const LLAMA = {
  ...{ model_type: "llama", vocab_size: 300, hidden_size: 64, intermediate_size: 160, num_hidden_layers: 3 },
  ...{ num_attention_heads: 4, num_key_value_heads: 2, max_position_embeddings: 64 },
};
const GPT2 = { model_type: "gpt2", vocab_size: 300, n_embd: 64, n_layer: 3, n_head: 4, n_positions: 128 };

async function tensorsOf(config: object, options: { init?: Init; seed?: number } = {}) {
  const checkpoint = await openCheckpoint(initialWeights(config, options));
  const values = new Map<string, Float32Array>();
  for (const name of checkpoint.tensors.keys()) values.set(name, toFloat32(await checkpoint.read(name), "F32"));
  return values;
}

const mean = (values: Float32Array) => values.reduce((sum, value) => sum + value, 0) / values.length;
const deviation = (values: Float32Array) => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length);

/** The deviation that each weight should have. */
function wanted(weight: WeightName, inputs: number, init: Init, range: number): number {
  const shrunk = init !== "llama" && ["attn.W_O", "mlp.W_out"].includes(weight) ? Math.sqrt(6) : 1;
  return (init === "fan-in" ? inputs ** -0.5 : range) / shrunk;
}

describe("a normal number", () => {
  it.each([
    [0.5, 0],
    [0.975, 1.959963985],
    [0.05, -1.644853627],
    [1e-3, -3.090232306],
    [1e-9, -5.997807015],
    [2 ** -40, -7.0477003],
  ])("of quantile %d is %d", (p, x) => {
    expect(Math.abs(normalQuantile(p) - x)).toBeLessThan(2e-6);
    // So close to 1, p itself has few digits.
    expect(Math.abs(normalQuantile(1 - p) + x)).toBeLessThan(p < 1e-10 ? 1e-4 : 2e-6);
  });
});

describe.each(INIT_NAMES)("%s", (init) => {
  it.each([
    ["llama", LLAMA, 0.02],
    ["llama with a range of its own", { ...LLAMA, initializer_range: 0.05 }, 0.05],
    [
      "llama in a config for pictures and text",
      { model_type: "llava", text_config: { ...LLAMA, initializer_range: 0.05 } },
      0.05,
    ],
    ["gpt2, stored [in, out] and packed", GPT2, 0.02],
    ["gemma, whose norms add 1 to their weights", { ...LLAMA, model_type: "gemma", head_dim: 16 }, 0.02],
  ])("spreads %s as said", async (_, config, range) => {
    const tensors = await tensorsOf(config, { init });
    const needed = neededTensors(specFromConfig(config, "config"));
    expect([...tensors.keys()].sort()).toEqual([...needed.keys()].sort());
    for (const [name, { weight, inputs }] of needed) {
      const values = tensors.get(name) as Float32Array;
      if (inputs === undefined) {
        const unit = config.model_type === "gemma" ? 0 : 1;
        expect(new Set(values), name).toEqual(new Set([weight.endsWith(".w") ? unit : 0]));
        continue;
      }
      const should = wanted(weight, inputs, init, range);
      // The smallest matrix has 2,048 entries: a deviation is known to 1.6%, a mean to 2.2% of it.
      expect(deviation(values) / should, name).toBeGreaterThan(0.94);
      expect(deviation(values) / should, name).toBeLessThan(1.06);
      expect(Math.abs(mean(values)) / should, name).toBeLessThan(0.09);
      const beyondTwo = values.filter((value) => Math.abs(value) > 2 * should).length / values.length;
      expect(Math.abs(beyondTwo - 0.0455), name).toBeLessThan(0.02);
    }
  });
});

it("a seed gives the same bits, another one others; no two tensors share their numbers", async () => {
  const [first, again, other] = [
    await tensorsOf(GPT2),
    await tensorsOf(GPT2, { seed: 0 }),
    await tensorsOf(GPT2, { seed: 1 }),
  ];
  expect(again).toEqual(first);
  const [one, two] = ["transformer.h.0.mlp.c_fc.weight", "transformer.h.1.mlp.c_fc.weight"];
  expect(other.get(one)).not.toEqual(first.get(one));
  expect(first.get(one)).not.toEqual(first.get(two));
  // The same on every host.
  expect(first.get(one)?.subarray(0, 3)).toEqual(
    Float32Array.of(0.04038160294294357, -0.323697566986084, 0.19916395843029022),
  );
});

describe.each(FIXTURES)("%s", (family) => {
  it("has the tensors that transformers saves, and computes", async () => {
    const config = fixtureConfig(family);
    const needed = neededTensors(specFromConfig(config, family));
    const saved = fixtureShapes(family);
    for (const [name, { shape }] of needed) expect(saved.get(name), name).toEqual(shape);
    for (const init of INIT_NAMES) {
      const notices: string[] = [];
      const onNotice = (notice: string) => notices.push(notice);
      using model = await loadModel(initialWeights(config, { init }), { gpu: await testGpu(), onNotice });
      expect(notices).toEqual([]);
      using run = await model.forward([[1, 2, 3, 4, 5, 6]]);
      const logits = await run.logits.read();
      expect(logits.every(Number.isFinite)).toBe(true);
      expect(deviation(logits)).toBeGreaterThan(0);
      expect(deviation(logits)).toBeLessThan(20);
    }
  });
});

it("a spec makes a custom model", async () => {
  const spec = specFromConfig(LLAMA, "config");
  using model = await loadModel(initialWeights(spec), { gpu: await testGpu() });
  expect(model.spec).toEqual(spec);
});

it("refuses what it does not know", () => {
  expect(() => initialWeights(LLAMA, { init: "xavier" as Init })).toThrowError(/fan-in/);
  expect(() => initialWeights({ ...LLAMA, model_type: "lama" })).toThrowError(/llama/);
  expect(() => initialWeights(LLAMA, { sed: 1 } as object)).toThrowError(/seed/);
});
