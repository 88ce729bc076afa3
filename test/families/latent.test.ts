/**
 * Configs of deepseek_v2, deepseek_v3 and llama4_text: what each setting makes of the spec, by transformers' formulas; what is refused, by
 * name; and changed configs with weights of their own, run by the engine and by the float64 decoder.
 */
import { describe, expect, it } from "vitest";
import { ConfigError } from "../../src/errors.ts";
import { specFromConfig } from "../../src/model/families/index.ts";
import { loadParts } from "../../src/model/load.ts";
import { Model } from "../../src/model/model.ts";
import type { ModelSpec } from "../../src/model/spec.ts";
import { neededTensors } from "../../src/model/weights/needed.ts";
import { lookupIn, ReferenceDecoder } from "../engine/forward.reference.ts";
import { entryOf, fixtureFiles, randomIds, readLogits, sourceOf } from "../support/fixtures.ts";
import { testGpu } from "../support/gpu.ts";
import { gaussians, relativeError, seeded } from "../support/numbers.ts";

type Changes = Record<string, unknown>;

async function configOf(family: string, changes: Changes, drop: readonly string[] = []): Promise<Changes> {
  const config: Changes = { ...(await fixtureFiles(`../types/${family}`)).config, ...changes };
  for (const key of drop) delete config[key];
  return config;
}

const specOf = async (family: string, changes: Changes = {}, drop: readonly string[] = []): Promise<ModelSpec> =>
  specFromConfig(await configOf(family, changes, drop), "config.json");

async function refusalOf(family: string, changes: Changes, drop: readonly string[] = []): Promise<string> {
  try {
    await specOf(family, changes, drop);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as ConfigError).message;
  }
  throw new Error("expected a ConfigError");
}

const YARN = {
  rope_type: "yarn",
  rope_theta: 10000,
  factor: 40,
  original_max_position_embeddings: 16,
  beta_fast: 32,
  beta_slow: 1,
  mscale: 0.8,
  mscale_all_dim: 0.7,
};
const mscale = (factor: number, m: number) => 0.1 * m * Math.log(factor) + 1;

describe("latent attention", () => {
  it("has the widths of the config, and transformers' defaults without them", async () => {
    const { attention, dHead, dValue, nHeads, nKvHeads } = await specOf("deepseek_v3");
    expect({ dHead, dValue, nHeads, nKvHeads }).toEqual({ dHead: 12, dValue: 8, nHeads: 4, nKvHeads: 4 });
    // The norms of latent vectors do not read rms_norm_eps.
    expect(attention.latent).toEqual({ dKv: 8, dQ: 8, dRope: 4, norm: { kind: "rms", eps: 1e-6, weightOffset: 0 } });
    expect((await specOf("deepseek_v3", { rms_norm_eps: 0.1 })).attention.latent).toEqual(attention.latent);
    const widths = ["qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "kv_lora_rank", "q_lora_rank"];
    const plain = await specOf("deepseek_v2", {}, [...widths, "head_dim", "qk_head_dim"]);
    expect([plain.dHead, plain.dValue, plain.attention.latent]).toEqual([
      192,
      128,
      { dKv: 512, dQ: 1536, dRope: 64, norm: { kind: "rms", eps: 1e-6, weightOffset: 0 } },
    ]);
    expect((await specOf("deepseek_v3", { q_lora_rank: null })).attention.latent?.dQ).toBeUndefined();
  });

  it.each(["deepseek_v2", "deepseek_v3"])("of %s scales scores by YaRN's mscale_all_dim, twice", async (family) => {
    const scaled = await specOf(family, { rope_parameters: YARN });
    expect(scaled.attention.scale).toBeCloseTo(mscale(40, 0.7) ** 2 / Math.sqrt(12), 12);
    expect(scaled.ropes[0]?.scaling).toMatchObject({ attentionFactor: mscale(40, 0.8) / mscale(40, 0.7) });
    const older = await specOf(family, { rope_scaling: { ...YARN, rope_type: undefined, type: "yarn" } });
    expect(older.attention.scale).toBe(scaled.attention.scale);
    const without = await specOf(family, { rope_parameters: { ...YARN, mscale_all_dim: 0 } });
    expect(without.attention.scale).toBeCloseTo(1 / Math.sqrt(12), 12);
    const small = await specOf(family, { rope_parameters: { ...YARN, factor: 0.5 } });
    expect(small.attention.scale).toBeCloseTo(1 / Math.sqrt(12), 12);
    // As transformers: read of any type of scaling.
    const linear = await specOf(family, { rope_parameters: { rope_type: "linear", factor: 2, mscale_all_dim: 1 } });
    expect(linear.attention.scale).toBeCloseTo(mscale(2, 1) ** 2 / Math.sqrt(12), 12);
  });

  it("turns pairs of neighbours, in deepseek_v3 unless told", async () => {
    const styles = [
      await specOf("deepseek_v2"),
      await specOf("deepseek_v3", {}, ["rope_interleave"]),
      await specOf("deepseek_v3", { rope_interleave: false }),
    ].map(({ ropes: [rope] }) => [rope?.style, rope?.rotaryDim]);
    expect(styles).toEqual([
      ["interleaved", 4],
      ["interleaved", 4],
      ["half", 4],
    ]);
  });

  it("routes as each type does", async () => {
    const routingOf = async (family: string, changes: Changes = {}) =>
      (await specOf(family, changes)).mlp.experts?.routing;
    expect(await routingOf("deepseek_v3")).toEqual({
      scores: "sigmoid",
      choiceBias: true,
      groups: { count: 2, chosen: 1, by: "topTwo" },
      normalize: { plus: 1e-20, atLeast: 0 },
      scale: 2.5,
    });
    expect(await routingOf("deepseek_v2")).toEqual({ scores: "softmax", scale: 1 });
    const grouped = { topk_method: "group_limited_greedy", n_group: 2, topk_group: 1, routed_scaling_factor: 16 };
    expect(await routingOf("deepseek_v2", grouped)).toEqual({
      scores: "softmax",
      groups: { count: 2, chosen: 1, by: "max" },
      scale: 16,
    });
    expect((await specOf("deepseek_v3", { first_k_dense_replace: 2 })).layers.map(({ dense }) => dense)).toEqual([
      true,
      true,
      undefined,
    ]);
  });

  it.each<[string, string, Changes, RegExp, string[]?]>([
    [
      "heads that share keys",
      "deepseek_v3",
      { num_key_value_heads: 2 },
      /num_key_value_heads = 2 must be num_attention_heads = 4/,
    ],
    ["transformers' default of them", "deepseek_v3", {}, /num_key_value_heads must be/, ["num_key_value_heads"]],
    ["another width of RoPE", "deepseek_v3", { head_dim: 8 }, /head_dim = 8 is not supported \(only 4 is\)/],
    ["another width of heads", "deepseek_v2", { qk_head_dim: 16 }, /qk_head_dim = 16 is not supported \(only 12 is\)/],
    [
      "a norm that transformers leaves out",
      "deepseek_v2",
      { norm_topk_prob: true },
      /norm_topk_prob = true is not supported/,
    ],
    ["V3's choice in V2", "deepseek_v2", { topk_method: "noaux_tc" }, /topk_method = "noaux_tc" is not supported/],
    ["no choice", "deepseek_v2", { topk_method: null }, /topk_method = null is not supported/],
    [
      "groups without a number",
      "deepseek_v2",
      { topk_method: "group_limited_greedy", n_group: null },
      /n_group = null must be/,
    ],
    [
      "more experts than the groups have",
      "deepseek_v2",
      { topk_method: "group_limited_greedy", n_group: 4, topk_group: 1 },
      /num_experts_per_tok = 2 is more than the experts of 1 groups/,
    ],
    ["a missing number of experts", "deepseek_v2", {}, /num_experts_per_tok is missing/, ["num_experts_per_tok"]],
    ["groups of one", "deepseek_v3", { n_group: 4 }, /"topTwo" needs groups of two experts at least/],
    [
      "a scaling without its factor",
      "deepseek_v3",
      { rope_parameters: { ...YARN, factor: undefined } },
      /rope_parameters\.factor is missing/,
    ],
  ])("refuses %s", async (_, family, changes, message, drop = []) => {
    expect(await refusalOf(family, changes, drop)).toMatch(message);
  });
});

describe("llama4_text", () => {
  it("chunks layers with RoPE, and scales the queries of the others", async () => {
    const queryScale = { factor: 0.1, span: 8192, shift: 1 };
    const { layers, attention } = await specOf("llama4_text");
    expect(layers).toEqual([
      { window: null, chunk: 8, rope: 0 },
      { window: null, chunk: 8, rope: 0 },
      { window: null, rope: null, qkNorm: false, queryScale },
    ]);
    expect(attention).toMatchObject({
      qkNorm: "head",
      qkNormAfterRope: true,
      qkNormSpec: { kind: "rms", eps: 1e-5, affine: false },
    });
    const bare = await specOf("llama4_text", {
      use_qk_norm: false,
      attn_temperature_tuning: false,
      layer_types: ["full_attention", "chunked_attention", "chunked_attention"],
    });
    expect(bare.attention.qkNorm).toBe("none");
    expect(bare.layers).toEqual([
      { window: null, rope: 0 },
      { window: null, chunk: 8, rope: 0 },
      { window: null, chunk: 8, rope: null },
    ]);
    const derived = await specOf("llama4_text", { no_rope_layers: [], no_rope_layer_interval: 2 }, ["layer_types"]);
    expect(derived.layers.map(({ rope, chunk }) => [rope, chunk])).toEqual([
      [0, 8],
      [null, undefined],
      [0, 8],
    ]);
  });

  it("has experts where the config lists them, or at every so manieth layer", async () => {
    const denseIn = async (changes: Changes, drop: string[] = []) =>
      (await specOf("llama4_text", changes, drop)).layers.flatMap(({ dense }, layer) => (dense ? [layer] : []));
    expect(await denseIn({})).toEqual([]);
    expect(await denseIn({ moe_layers: [1] })).toEqual([0, 2]);
    expect(await denseIn({ interleave_moe_layer_step: 2, moe_layers: null })).toEqual([0, 2]);
    expect(await denseIn({ interleave_moe_layer_step: 3 }, ["moe_layers"])).toEqual([0, 1]);
    const { dMlp, mlp } = await specOf("llama4_text", { moe_layers: [1] });
    expect([dMlp, mlp.experts?.dExpert, mlp.experts?.shared]).toEqual([24, 16, { dMlp: 16, gate: false }]);
    expect(mlp.experts?.weighsInput).toBe(true);
  });

  it.each<[string, Changes, RegExp]>([
    ["chunks of no length", { attention_chunk_size: null }, /attention_chunk_size = null must be/],
    ["attention both ways", { is_causal: false }, /is_causal = false is not supported/],
    [
      "layers of another kind",
      { layer_types: ["sliding_attention", "full_attention", "full_attention"] },
      /layer_types = .* unsupported entry/,
    ],
    ["too few layers", { layer_types: ["full_attention"] }, /layer_types = .* has 1 entries for 3 layers/],
    ["flags that are none", { no_rope_layers: [1, 1, 2] }, /no_rope_layers = .* must be a list of 0 or 1/],
  ])("refuses %s", async (_, changes, message) => {
    expect(await refusalOf("llama4_text", changes)).toMatch(message);
  });
});

/** Weights drawn at random for whatever a config needs. */
function weightsFor(spec: ModelSpec) {
  const random = seeded(23);
  return [...neededTensors(spec)].map(([name, { shape, inputs }]) => {
    const count = shape.reduce((product, size) => product * size, 1);
    const spread = inputs === undefined ? 0.3 : 1 / Math.sqrt(inputs);
    const centre = /norm/.test(name) && inputs === undefined ? 1 : 0;
    return entryOf(
      name,
      shape,
      gaussians(random, count, spread).map((value) => value + centre),
    );
  });
}

const NARROW = { qk_nope_head_dim: 6, v_head_dim: 5, qk_head_dim: 10 };
const WIDE = { qk_nope_head_dim: 3, v_head_dim: 10, qk_head_dim: 7, kv_lora_rank: 7 };

describe("the engine and the float64 decoder agree on", () => {
  it.each<[string, string, Changes]>([
    [
      "YaRN, biases and halves that turn",
      "deepseek_v3",
      { rope_parameters: YARN, attention_bias: true, rope_interleave: false },
    ],
    ["narrow odd values, queries without a latent vector", "deepseek_v3", { ...NARROW, q_lora_rank: null }],
    [
      "values wider than keys, groups by their greatest, biases",
      "deepseek_v2",
      { ...WIDE, q_lora_rank: 5, mlp_bias: true, topk_method: "group_limited_greedy", n_group: 2, topk_group: 1 },
    ],
    [
      "dense and sparse layers, scaled queries, several experts a token",
      "llama4_text",
      { moe_layers: [1], floor_scale: 4, num_experts_per_tok: 2, attention_bias: true, attention_chunk_size: 5 },
    ],
  ])("%s", async (_, family, changes) => {
    const config = await configOf(family, changes);
    const spec = specFromConfig(config, family);
    const tensors = weightsFor(spec);
    using model = new Model(await loadParts(sourceOf({ config, tensors }), { gpu: await testGpu() }));
    const reference = new ReferenceDecoder(spec, lookupIn(spec, tensors));
    const ids = randomIds(model, 5, 19);
    const expected = reference.run(ids).flatMap((row) => [...row]);
    expect(relativeError(await readLogits(model.forward(ids)), expected)).toBeLessThan(5e-6);
  });
});
