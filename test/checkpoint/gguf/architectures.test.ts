/**
 * Architectures of GGUF: a fixture of each family, converted as llama.cpp converts it, has transformers' logits; and what a file
 * states that changes the computation is obeyed, or refused by name.
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { dequantize, quantize } from "../../../src/checkpoint/blocks.ts";
import { openCheckpoint } from "../../../src/checkpoint/checkpoint.ts";
import { ARCHITECTURES } from "../../../src/checkpoint/gguf/architectures.ts";
import { FilesSource } from "../../../src/checkpoint/index.ts";
import { ConfigError } from "../../../src/errors.ts";
import { loadParts, readFitted } from "../../../src/model/load.ts";
import { Model } from "../../../src/model/model.ts";
import { fixtureFiles, golden, goldenIn, readLogits, tensorsOf } from "../../support/fixtures.ts";
import { floats, type Pairs, type Written, writeGguf } from "../../support/gguf.ts";
import { testGpu } from "../../support/gpu.ts";
import { relativeError } from "../../support/numbers.ts";
import { converted, expertSettings } from "./convert.ts";

const sourceOf = (file: Uint8Array) => FilesSource.of([["model.gguf", file]], "here");

/** A fixture, its architecture, and metadata of its own. */
const FAMILIES: [fixture: string, architecture: string, extra?: Pairs][] = [
  ["llama", "llama"],
  ["mistral", "llama", { "attention.sliding_window": 8 }],
  ["qwen2", "qwen2"],
  ["qwen3", "qwen3"],
  ["gemma2", "gemma2", { "attention.sliding_window": 7, attn_logit_softcapping: 50, final_logit_softcapping: 30 }],
  ["gemma3", "gemma3", { "attention.sliding_window": 7, "attention.sliding_window_pattern": [true, true, false] }],
  ["phi3", "phi3", { "rope.scaling.original_context_length": 4096 }],
  ["olmo2", "olmo2"],
];

describe("a converted fixture", () => {
  it.each(FAMILIES)("%s has transformers' logits as %s", { timeout: 60_000 }, async (fixture, architecture, extra) => {
    const source = sourceOf(converted(await fixtureFiles(fixture), architecture, extra));
    using model = new Model(await loadParts(source, { gpu: await testGpu(), quiet: true }));
    const { ids, values } = await golden(fixture);
    expect(relativeError(await readLogits(model.forward(ids)), values.get("logits") as Float32Array)).toBeLessThan(
      1e-5,
    );
  });

  it("is there for every architecture", () => {
    const tested = [...FAMILIES, ...MIXTURES].map(([, architecture]) => architecture);
    expect(new Set(tested)).toEqual(new Set(ARCHITECTURES.keys()));
  });
});

/** Mixtures of experts. llama.cpp norms Qwen 3's weights of the chosen experts, and not Qwen 2's; so do the fixtures. */
const MIXTURES: [fixture: string, architecture: string, extra?: Pairs][] = [
  ["qwen2_moe", "qwen2moe"],
  ["qwen3_moe", "qwen3moe"],
  [
    "gpt_oss",
    "gpt-oss",
    {
      "attention.sliding_window": 7,
      "rope.scaling.type": "yarn",
      "rope.scaling.factor": 32,
      "rope.scaling.original_context_length": 4,
    },
  ],
];

describe.each(MIXTURES)("a mixture: %s as %s", (fixture, architecture, extra) => {
  const load = async (file: Uint8Array) =>
    new Model(await loadParts(sourceOf(file), { gpu: await testGpu(), quiet: true }));
  const convert = async (change?: (tensor: Written) => Written) => {
    const files = await fixtureFiles(`../types/${fixture}`);
    return converted(files, architecture, { ...expertSettings(files.config), ...extra }, change);
  };

  it("has transformers' logits", { timeout: 60_000 }, async () => {
    using model = await load(await convert());
    const { ids, values } = await golden(`../types/${fixture}`);
    const logits = await readLogits(model.forward(ids));
    expect(relativeError(logits, values.get("logits") as Float32Array)).toBeLessThan(1e-5);
  });

  it("keeps experts in their blocks, and computes what their numbers compute", { timeout: 60_000 }, async () => {
    const inBlocks = (tensor: Written, type: "Q8_0" | "F32"): Written => {
      if (!/ffn_(gate|up)_exps\.weight$/.test(tensor.name)) return tensor;
      const data = quantize(new Float32Array(tensor.data.buffer), "Q8_0");
      return type === "Q8_0" ? { ...tensor, type, data } : floats(tensor.name, tensor.shape, dequantize(data, "Q8_0"));
    };
    using quantized = await load(await convert((tensor) => inBlocks(tensor, "Q8_0")));
    using plain = await load(await convert((tensor) => inBlocks(tensor, "F32")));
    const { ids } = await golden(`../types/${fixture}`);
    const [actual, expected] = [await readLogits(quantized.forward(ids)), await readLogits(plain.forward(ids))];
    expect(relativeError(actual, expected)).toBeLessThan(1e-5);
    const sparse = quantized.engine.weights.blocks.filter(({ W_experts_gate }) => W_experts_gate);
    for (const { W_experts_gate, W_experts_in } of sparse)
      expect([W_experts_gate?.storage, W_experts_in?.storage]).toEqual(["q8_0", "q8_0"]);
  });
});

describe("experts of gpt-oss", () => {
  it("whose gate and up are of two types are refused", async () => {
    const files = await fixtureFiles("../types/gpt_oss");
    const mixed = (tensor: Written): Written =>
      /ffn_up_exps\.weight$/.test(tensor.name)
        ? { ...tensor, type: "Q8_0", data: quantize(new Float32Array(tensor.data.buffer), "Q8_0") }
        : tensor;
    await expect(openCheckpoint(sourceOf(converted(files, "gpt-oss", {}, mixed)))).rejects.toMatchObject({
      code: "checkpoint/shape",
      message: expect.stringMatching(/blk\.0\.ffn_gate_exps\.weight is F32 .*blk\.0\.ffn_up_exps\.weight is Q8_0/),
    });
  });

  it("lie in the file's pieces wherever a read begins and ends", async () => {
    const files = await fixtureFiles("../types/gpt_oss");
    const checkpoint = await openCheckpoint(sourceOf(converted(files, "gpt-oss")));
    for (const name of ["model.layers.1.mlp.experts.gate_up_proj", "model.layers.1.mlp.experts.gate_up_proj_bias"]) {
      const whole = await checkpoint.read(name);
      for (const [start, end] of [
        [4, 12],
        [8, 300],
        [128, 256],
        [260, whole.length],
        [12, 12],
      ] as const)
        expect(await checkpoint.read(name, start, end)).toEqual(whole.slice(start, end));
    }
  });

  it("turn with YaRN's own bounds, or not at all where the file scales nothing", async () => {
    const experts = {
      expert_count: 4,
      expert_used_count: 2,
      expert_feed_forward_length: 8,
      "attention.sliding_window": 4,
    };
    expect((await configOf("gpt-oss", experts)).rope_scaling).toEqual({ rope_type: "default", truncate: false });
    const yarn = { "rope.scaling.type": "yarn", "rope.scaling.factor": 4 };
    expect(await configOf("gpt-oss", { ...experts, ...yarn })).toMatchObject({
      rope_scaling: { rope_type: "yarn", factor: 4, truncate: false },
      intermediate_size: 8,
    });
  });
});

/** Metadata of a small model, and its tensors' names and sizes. */
const SMALL = {
  context_length: 64,
  embedding_length: 16,
  block_count: 1,
  feed_forward_length: 32,
  "attention.head_count": 2,
  "attention.layer_norm_rms_epsilon": { type: 6, value: 1e-5 },
};

async function configOf(
  architecture: string,
  changes: Pairs = {},
  more: Written[] = [],
): Promise<Record<string, unknown>> {
  const pairs = Object.entries({ ...SMALL, ...changes }).filter(([, value]) => value !== undefined);
  const under = Object.fromEntries(pairs.map(([key, value]) => [`${architecture}.${key}`, value]));
  const embedding = floats("token_embd.weight", [10, 16], new Float32Array(160));
  const file = writeGguf({ "general.architecture": architecture, ...under }, [embedding, ...more]);
  const checkpoint = await openCheckpoint(sourceOf(file));
  return (await checkpoint.readJson("config.json")) as Record<string, unknown>;
}

describe("settings", () => {
  it("are llama.cpp's where a file has none, not those of the family", async () => {
    expect(await configOf("qwen2")).toEqual({
      model_type: "qwen2",
      max_position_embeddings: 64,
      hidden_size: 16,
      num_hidden_layers: 1,
      intermediate_size: 32,
      num_attention_heads: 2,
      num_key_value_heads: 2,
      head_dim: 8,
      rms_norm_eps: 1e-5,
      rope_theta: 10000,
      vocab_size: 10,
      tie_word_embeddings: true,
      attention_bias: false,
      mlp_bias: false,
    });
  });

  it("have no window where llama.cpp writes one of 0, as for Phi 4", async () => {
    expect(await configOf("phi3", { "attention.sliding_window": 0 })).toMatchObject({ sliding_window: null });
    expect(await configOf("llama", { "attention.sliding_window": 0 })).toMatchObject({ model_type: "llama" });
    expect(await configOf("llama", { "attention.sliding_window": 8 })).toMatchObject({ model_type: "mistral" });
  });

  it("tell ties, biases and ids of tokens", async () => {
    const more = [
      floats("output.weight", [10, 16], new Float32Array(160)),
      floats("blk.0.attn_q.bias", [16], new Float32Array(16)),
    ];
    expect(await configOf("llama", {}, more)).toMatchObject({ tie_word_embeddings: false, attention_bias: true });
  });

  it.each<[string, Pairs, Record<string, unknown>]>([
    [
      "llama",
      { "rope.scaling.type": "linear", "rope.scaling.factor": 4 },
      { rope_scaling: { rope_type: "linear", factor: 4 } },
    ],
    ["llama", { "rope.scale_linear": { type: 6, value: 2 } }, { rope_scaling: { rope_type: "linear", factor: 2 } }],
    [
      "qwen2",
      { "rope.scaling.type": "yarn", "rope.scaling.factor": 4, "rope.scaling.original_context_length": 32 },
      { rope_scaling: { rope_type: "yarn", factor: 4, original_max_position_embeddings: 32 } },
    ],
    ["gemma2", { block_count: 46 }, { query_pre_attn_scalar: 8 }],
    ["gemma2", { block_count: 46, "attention.key_length": 32 }, { query_pre_attn_scalar: 8, head_dim: 32 }],
    ["gemma2", { "attention.key_length": 32 }, { query_pre_attn_scalar: 32 }],
    ["gemma3", { "attention.sliding_window": 4, "rope.freq_base_swa": 5000 }, { rope_local_base_freq: 5000 }],
    ["phi3", { "rope.dimension_count": 4 }, { partial_rotary_factor: 0.5 }],
    ["qwen3", { "attention.causal": false }, { is_causal: false }],
    ["llama", { "attention.head_count_kv": [1] }, { num_key_value_heads: 1 }],
  ])("of %s are obeyed: %o", async (architecture, changes, expected) => {
    expect(await configOf(architecture, changes)).toMatchObject(expected);
  });

  it.each<[string, Pairs]>([
    ["llama", { "rope.scaling.type": "none", "rope.scaling.factor": 4 }],
    ["llama", { "rope.scaling.factor": 1 }],
    ["llama", { expert_count: 0, "rope.scaling.finetuned": true, pooling_type: 3 }],
  ])("of %s change nothing: %o", async (architecture, changes) => {
    expect(await configOf(architecture, changes)).toEqual(await configOf(architecture));
  });
});

describe("refused by name", () => {
  const refused = (architecture: string, changes: Pairs, code: string, names: RegExp, more: Written[] = []) =>
    expect(configOf(architecture, changes, more)).rejects.toSatisfy(
      (error) => error instanceof ConfigError && error.code === code && names.test(error.message),
    );

  it.each<[string, Pairs, RegExp]>([
    ["llama", { expert_count: 8 }, /llama\.expert_count is 8/],
    ["llama", { "attention.clamp_kqv": 8 }, /llama\.attention\.clamp_kqv is 8/],
    ["olmo2", { "attention.sliding_window": 8 }, /olmo2\.attention\.sliding_window/],
    ["llama", { "rope.dimension_count": 4 }, /llama\.rope\.dimension_count is 4, and this family rotates whole heads/],
    ["llama", { "attention.value_length": 4 }, /llama\.attention\.value_length is 4, and heads are 8 wide/],
    ["llama", { "attention.head_count": [2, 4] }, /llama\.attention\.head_count is \[2,4\], and differs from layer/],
    ["phi3", { "rope.scaling.type": "longrope" }, /phi3\.rope\.scaling\.type is "longrope"/],
    ["llama", { "rope.scaling.type": "yarn", "rope.scaling.yarn_ext_factor": 0 }, /yarn_ext_factor is 0, and only 1/],
    ["llama", { "rope.scaling.yarn_log_multiplier": 0.1 }, /yarn_log_multiplier/],
  ])("a setting of %s: %o", async (architecture, changes, names) => {
    await refused(architecture, changes, "config/unsupported", names);
  });

  it.each(["context_length", "block_count", "attention.layer_norm_rms_epsilon"])("a file without %s", async (key) => {
    await refused("llama", { [key]: undefined }, "config/missing", new RegExp(`no llama\\.${key}\\. Convert`));
  });

  it("a gemma3 without its window", async () => {
    await refused("gemma3", {}, "config/missing", /no gemma3\.attention\.sliding_window/);
  });

  it("another architecture, with the list", async () => {
    await refused(
      "deepseek2",
      {},
      "config/unknown-model-type",
      /"deepseek2" is not read from GGUF \(read: llama, qwen2, /,
    );
    const file = writeGguf({}, []);
    const checkpoint = await openCheckpoint(sourceOf(file));
    await expect(checkpoint.readJson("config.json")).rejects.toMatchObject({ code: "config/missing" });
  });

  it("a tensor that the architecture has no place for", async () => {
    const { config, tensors } = await fixtureFiles("llama");
    const more = {
      name: "model.layers.0.self_attn.q_norm.weight",
      dtype: "F32" as const,
      shape: [8],
      data: new Float32Array(8),
    };
    const checkpoint = await openCheckpoint(sourceOf(converted({ config, tensors: [...tensors, more] }, "llama")));
    await expect(readFitted(checkpoint)).rejects.toMatchObject({
      code: "config/unsupported",
      message: expect.stringMatching(/architecture has no place for blk\.0\.attn_q_norm\.weight\. It is a variant/),
    });
  });

  it("a bias of a module that the family gives none", async () => {
    const { config, tensors } = await fixtureFiles("qwen3");
    const more = {
      name: "model.layers.1.self_attn.o_proj.bias",
      dtype: "F32" as const,
      shape: [32],
      data: new Float32Array(32),
    };
    const checkpoint = await openCheckpoint(sourceOf(converted({ config, tensors: [...tensors, more] }, "qwen3")));
    await expect(readFitted(checkpoint)).rejects.toMatchObject({
      code: "config/unsupported",
      message: expect.stringMatching(/has no place for model\.layers\.1\.self_attn\.o_proj\.bias/),
    });
  });

  it("one list of LongRoPE without the other, or without the trained length", async () => {
    const factors = [floats("rope_factors_long.weight", [4], new Float32Array(4))];
    await refused("phi3", {}, "config/missing", /no phi3\.rope\.scaling\.original_context_length/, factors);
    const trained = { "rope.scaling.original_context_length": 32 };
    await refused("phi3", trained, "config/unsupported", /no tensor rope_factors_short\.weight/, factors);
  });
});

describe("rope_factors_short.weight and rope_factors_long.weight", () => {
  it.each(["phi3_longrope_short", "phi3_longrope_long", "phi4mini_longrope_partial"])(
    "make the model of %s",
    { timeout: 60_000 },
    async (fixture) => {
      const folder = fileURLToPath(new URL(`../../fixtures/types/${fixture}`, import.meta.url));
      const config = JSON.parse(await readFile(`${folder}/config.json`, "utf8")) as Record<string, unknown>;
      const tensors = tensorsOf(await readFile(`${folder}/model.safetensors`));
      const rope = { ...(config.rope_parameters as object), ...(config.rope_scaling as object) } as Record<
        string,
        number[]
      >;
      const lists = (["short", "long"] as const).map((length) => {
        const data = Float32Array.from(rope[`${length}_factor`] as number[]);
        return { name: `rope_factors_${length}.weight`, dtype: "F32" as const, shape: [data.length], data };
      });
      const dHead =
        (config.head_dim as number | undefined) ??
        (config.hidden_size as number) / (config.num_attention_heads as number);
      const share = (rope.partial_rotary_factor ?? config.partial_rotary_factor ?? 1) as number;
      const file = converted({ config, tensors: [...tensors, ...lists] }, "phi3", {
        "rope.dimension_count": dHead * share,
        "rope.scaling.original_context_length":
          config.original_max_position_embeddings ?? rope.original_max_position_embeddings,
        "attention.sliding_window": config.sliding_window ?? undefined,
      });
      using model = new Model(await loadParts(sourceOf(file), { gpu: await testGpu(), quiet: true }));
      const { ids, values } = await goldenIn(folder);
      const logits = await readLogits(model.forward(ids));
      expect(relativeError(logits, values.get("logits") as Float32Array)).toBeLessThan(1e-5);
    },
  );
});

describe("rope_freqs.weight", () => {
  const freqs = (values: number[]) => [floats("rope_freqs.weight", [values.length], values)];
  /** The divisors that the converter writes for Llama 3.1: heads of 16, theta 500000, 8192 positions, factor 8. */
  const LLAMA31 = Array.from({ length: 8 }, (_, i) => {
    const wave = 2 * Math.PI * 500000 ** (i / 8);
    if (wave < 2048) return 1;
    return wave > 8192 ? 8 : 1 / ((1 - (8192 / wave - 1) / 3) / 8 + (8192 / wave - 1) / 3);
  });
  const HEADS = { "attention.key_length": 16, "attention.value_length": 16, "rope.freq_base": 500000 };

  it("is Llama 3's scaling", async () => {
    expect((await configOf("llama", HEADS, freqs(LLAMA31))).rope_scaling).toEqual({
      rope_type: "llama3",
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    });
    expect((await configOf("llama", HEADS, freqs(LLAMA31.map(() => 1)))).rope_scaling).toBeUndefined();
  });

  it("is refused where it is another", async () => {
    const refused = (values: number[], changes: Pairs = {}) =>
      expect(configOf("llama", { ...HEADS, ...changes }, freqs(values))).rejects.toMatchObject({
        code: "config/unsupported",
        message: expect.stringContaining("rope_freqs.weight"),
      });
    await refused(LLAMA31.map((each, i) => (i === 5 ? each * 1.01 : each)));
    await refused(LLAMA31.slice(1));
    await refused(LLAMA31, { "rope.scaling.type": "linear", "rope.scaling.factor": 2 });
  });

  it("makes the model of the fixture", { timeout: 60_000 }, async () => {
    const { config, tensors } = await fixtureFiles("llama3_rope");
    const data = Float32Array.of(1, 8, 8, 8);
    const named = { name: "rope_freqs.weight", dtype: "F32" as const, shape: [4], data };
    const file = converted({ config, tensors: [...tensors, named] }, "llama");
    using model = new Model(await loadParts(sourceOf(file), { gpu: await testGpu(), quiet: true }));
    const { ids, values } = await golden("llama3_rope");
    expect(relativeError(await readLogits(model.forward(ids)), values.get("logits") as Float32Array)).toBeLessThan(
      1e-5,
    );
  });
});
