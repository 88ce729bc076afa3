/** The theorem's second claim: layers, heads and width, read from the built tensors. */
import { describe, expect, it } from "vitest";
import type { LayerSpec } from "../../src/model/spec.ts";
import { denseTensors } from "../../src/theory/assemble.ts";
import { buildSuperposition, superpositionConfig } from "../../src/theory/build.ts";
import { promptLength } from "../../src/theory/codes.ts";
import { arithmetic } from "../../src/theory/presets/arithmetic.ts";
import { denseBytes, randomTasks, seeded } from "./helpers.ts";

const SIZES = [
  { d: 8, m: 1, n: 2, K: 1 },
  { d: 32, m: 10, n: 3, K: 3 },
  { d: 100, m: 60, n: 4, K: 4 },
  { d: 16, m: 1000, n: 2, K: 2 },
  { d: 16, m: 20, n: 8, K: 16 },
];

describe.each(SIZES)("$d tokens, $m examples of $n, $K tasks", ({ d, m, n, K }) => {
  const definition = randomTasks(d, n, K, seeded(d));
  it.each([4, 7] as const)("%i layers", (layers) => {
    const model = buildSuperposition(definition, { examples: m, layers });
    const { spec, weights } = model;
    const shape = (name: string) => weights.get(name)?.shape;
    const bits = (count: number) => Math.max(1, Math.ceil(Math.log2(count)));
    const dModel = 4 * d + 3 * K + bits(m + 1) + bits(n) + 4;
    expect(shape("embed.W_E")).toEqual([d + 1, dModel]);
    expect(shape("embed.W_pos")).toEqual([promptLength(m, n), dModel]);
    expect([...weights.keys()].filter((name) => name.endsWith("attn.W_Q")).length).toBe(layers);
    const heads = Math.max(K, definition.sum && n > 2 ? 2 : 1);
    expect(spec).toMatchObject({ nLayers: layers, dModel, nHeads: heads, vocabSize: d + 1, family: "custom" });
    expect(spec.dHead % 4).toBe(0);
    expect(spec.dHead).toBeLessThan(d + bits(m + 1) + 1 + 4);
    for (let layer = 0; layer < layers; layer++) {
      expect(shape(`blocks.${layer}.attn.W_Q`)).toEqual([heads * spec.dHead, dModel]);
      expect(shape(`blocks.${layer}.attn.W_O`)).toEqual([dModel, heads * spec.dHead]);
      const { dMlp } = spec.layers[layer] as LayerSpec;
      expect(shape(`blocks.${layer}.mlp.W_in`)).toEqual([dMlp, dModel]);
      expect(shape(`blocks.${layer}.mlp.b_in`)).toEqual([dMlp]);
    }
  });
});

describe("an ordinary model", () => {
  const model = buildSuperposition(arithmetic(), { examples: 6, heads: 5 });

  it("may have more heads than tasks", () => {
    expect(model.spec.nHeads).toBe(5);
  });

  it("names a tensor for every weight, with the shape the spec implies", () => {
    for (const { tensor } of Object.values(model.spec.weights)) {
      for (let layer = 0; layer < model.spec.nLayers; layer++) {
        expect(model.weights.has(tensor.replace("{i}", String(layer)))).toBe(true);
      }
    }
    let bytes = 0;
    for (const [, { data }] of denseTensors(model)) {
      expect(data.every(Number.isFinite)).toBe(true);
      bytes += data.byteLength;
    }
    expect(bytes).toBe(denseBytes(model));
  });

  it("describes itself in JSON, and is rebuilt from that description", () => {
    const config = JSON.parse(JSON.stringify(superpositionConfig(model)));
    const { definition, examples, heads, layers, constants } = config.superposition;
    const again = buildSuperposition(definition, { examples, heads, layers, ...constants });
    expect(config).toEqual(JSON.parse(JSON.stringify(superpositionConfig(again))));
    expect([...again.tensors].map(([name, { data }]) => [name, data])).toEqual(
      [...model.tensors].map(([name, { data }]) => [name, data]),
    );
    expect(config.model_type).toBe("custom");
    expect(config.superposition.vocabulary[config.superposition.bos]).toBe("<bos>");
    expect(config.superposition.stages).toEqual({
      derive: 0,
      decode: 0,
      match: 1,
      round: 1,
      weigh: 2,
      logit: 2,
      superpose: 3,
      log: 3,
    });
  });
});
