/**
 * The many spellings of a config: older keys must give the spec that the transformers-5 fixture gives, and a setting
 * that is not supported must be refused by its name.
 */
import { describe, expect, it } from "vitest";
import { ConfigError } from "../../src/errors.ts";
import { alibiSlopes } from "../../src/model/families/bloom.ts";
import { specFromConfig } from "../../src/model/families/index.ts";
import { type Config, edited, fixtureConfig } from "./fixtures.ts";

/** The fixture's config with keys renamed. */
function renamed(fixture: string, names: Record<string, string>, changes: Config = {}): Config {
  const entries = Object.entries(edited(fixture, changes));
  return Object.fromEntries(entries.map(([key, value]) => [names[key] ?? key, value]));
}

const spec = (config: unknown) => specFromConfig(config, "config.json");

function failure(config: unknown): ConfigError {
  try {
    spec(config);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return error as ConfigError;
  }
  throw new Error("expected a ConfigError");
}

const OLD_THETA = { rope_parameters: undefined, rope_theta: 10000.0, rope_scaling: null };
const LLAMA3 = { factor: 8, high_freq_factor: 4, low_freq_factor: 1, original_max_position_embeddings: 32 };

describe("older keys give the same spec", () => {
  it.each<[string, string, Config]>([
    ["gpt2, current names", "gpt2", renamed("gpt2", { n_embd: "hidden_size", n_layer: "num_hidden_layers" })],
    ["gpt2, n_ctx beside n_positions", "gpt2", edited("gpt2", { n_ctx: 128, torch_dtype: "float16" })],
    ["gpt2, n_inner spelled out", "gpt2", edited("gpt2", { n_inner: 128, activation_function: "gelu_pytorch_tanh" })],
    ["gpt2, no tie_word_embeddings", "gpt2", edited("gpt2", { tie_word_embeddings: undefined })],
    ["llama, rope_theta", "llama", edited("llama", { ...OLD_THETA, head_dim: undefined })],
    ["llama, no rope keys at all", "llama", edited("llama", { rope_parameters: undefined })],
    [
      "llama4, its tuning as a number",
      "../types/llama4_text",
      edited("../types/llama4_text", { attn_temperature_tuning: 4 }),
    ],
    ["llama, swish", "llama", edited("llama", { hidden_act: "swish" })],
    ["llama, no biases stated", "llama", edited("llama", { attention_bias: undefined, mlp_bias: undefined })],
    [
      "llama3, rope_scaling with rope_type",
      "llama3_rope",
      edited("llama3_rope", {
        rope_parameters: undefined,
        rope_theta: 500000,
        rope_scaling: { rope_type: "llama3", ...LLAMA3 },
        tie_word_embeddings: undefined,
      }),
    ],
    [
      "llama3, rope_scaling with type",
      "llama3_rope",
      edited("llama3_rope", {
        rope_parameters: undefined,
        rope_theta: 500000,
        rope_scaling: { type: "llama3", ...LLAMA3 },
      }),
    ],
    ["mistral", "mistral", edited("mistral", { ...OLD_THETA, head_dim: undefined, tie_word_embeddings: undefined })],
    ["qwen2", "qwen2", edited("qwen2", { ...OLD_THETA, layer_types: undefined, sliding_window: 4096 })],
    ["qwen3", "qwen3", edited("qwen3", { ...OLD_THETA, layer_types: undefined })],
    [
      "gpt_neox, rotary_pct",
      "gpt_neox",
      edited("gpt_neox", { rope_parameters: undefined, rotary_pct: 0.25, rotary_emb_base: 10000 }),
    ],
    [
      "gpt_neox, names that it does not have",
      "gpt_neox",
      edited("gpt_neox", { rope_parameters: undefined, rope_theta: 300, partial_rotary_factor: 0.5 }),
    ],
    ["gpt_neox, defaults", "gpt_neox", edited("gpt_neox", { rope_parameters: undefined, attention_bias: undefined })],
    [
      "gpt_neox sequential, rotary_pct 1",
      "gpt_neox_sequential",
      edited("gpt_neox_sequential", { rope_parameters: undefined, rotary_pct: 1.0 }),
    ],
    ["phi, partial_rotary_factor", "phi", edited("phi", OLD_THETA)],
    ["phi, its default factor", "phi", edited("phi", { ...OLD_THETA, partial_rotary_factor: undefined })],
    ["phi3", "phi3", edited("phi3", { ...OLD_THETA, tie_word_embeddings: undefined })],
    [
      "stablelm, rope_pct and norm_eps",
      "stablelm",
      renamed(
        "stablelm",
        { partial_rotary_factor: "rope_pct", layer_norm_eps: "norm_eps" },
        { rope_parameters: undefined },
      ),
    ],
    ["bloom, num_hidden_layers", "bloom", renamed("bloom", { n_layer: "num_hidden_layers", hidden_size: "n_embed" })],
    ["bloom, seq_length", "bloom", edited("bloom", { seq_length: 2048 })],
    ["gpt_neo, only attention_types", "gpt_neo", edited("gpt_neo", { attention_layers: undefined })],
    ["gpt_neo, only attention_layers", "gpt_neo", edited("gpt_neo", { attention_types: undefined })],
    ["gemma, hidden_act gelu", "gemma", edited("gemma", { ...OLD_THETA, hidden_act: "gelu", hidden_activation: null })],
    [
      "gemma2, no layer_types",
      "gemma2",
      edited("gemma2", { ...OLD_THETA, layer_types: undefined, hidden_act: "gelu" }),
    ],
    [
      "gemma3, sliding_window_pattern and rope_local_base_freq",
      "gemma3",
      edited("gemma3", {
        layer_types: undefined,
        sliding_window_pattern: 3,
        _sliding_window_pattern: undefined,
        rope_parameters: undefined,
        rope_theta: 1e6,
        rope_local_base_freq: 1e4,
        rope_scaling: null,
        tie_word_embeddings: undefined,
      }),
    ],
    ["olmo2", "olmo2", edited("olmo2", OLD_THETA)],
    ["granite", "granite", edited("granite", OLD_THETA)],
    ["starcoder2", "starcoder2", edited("starcoder2", { ...OLD_THETA, use_bias: undefined })],
    ["cohere", "cohere", edited("cohere", { rope_parameters: undefined, rope_theta: 500000, use_qk_norm: undefined })],
    ["opt", "opt", edited("opt", { word_embed_proj_dim: undefined, enable_bias: undefined })],
    [
      "smollm3, no_rope_layer_interval",
      "smollm3",
      edited("smollm3", {
        no_rope_layers: undefined,
        no_rope_layer_interval: 3,
        layer_types: undefined,
        rope_parameters: undefined,
      }),
    ],
  ])("%s", (_, fixture, config) => {
    expect(spec(config)).toEqual(spec(fixtureConfig(fixture)));
  });

  it("reads the text model of a multimodal gemma3 config", () => {
    const { tie_word_embeddings: _, ...text } = fixtureConfig("gemma3");
    const wrapped = spec({ model_type: "gemma3", text_config: text, vision_config: {} });
    expect(wrapped).toEqual({ ...spec(fixtureConfig("gemma3")), family: "gemma3" });
  });

  it.each(["gemma3", "../types/gemma4_text", "qwen3"])(
    "reads is_causal of a text model of %s once, within a config for pictures and text",
    (fixture) => {
      const text = { ...fixtureConfig(fixture), is_causal: false };
      const { tie_word_embeddings } = text as { tie_word_embeddings?: boolean };
      const wrapped = spec({ model_type: "llava", tie_word_embeddings, text_config: text });
      expect(wrapped).toEqual({ ...spec(text), family: "llava" });
      expect(wrapped.attention.causal).toBe(false);
    },
  );
});

describe("settings that change the computation reach the spec", () => {
  it.each<[string, Config, Config]>([
    ["gpt2 unscaled attention", edited("gpt2", { scale_attn_weights: false }), { attention: { scale: 1 } }],
    [
      "gpt2 scale by layer",
      edited("gpt2", { scale_attn_by_inverse_layer_idx: true }),
      { layers: [1, 2, 3].map((n) => ({ attentionScale: 8 ** -0.5 / n })) },
    ],
    ["gpt_neo has no scale", fixtureConfig("gpt_neo"), { attention: { scale: 1 } }],
    ["gemma's scaled embedding", fixtureConfig("gemma"), { embed: { scale: 32 ** 0.5 }, norm: { weightOffset: 1 } }],
    [
      "gemma2's caps and windows",
      fixtureConfig("gemma2"),
      {
        attention: { scale: 0.25, softCap: 50 },
        unembed: { softCap: 30 },
        layers: [{ window: 7 }, { window: null }, { window: 7 }],
      },
    ],
    ["gemma2 without caps", edited("gemma2", { attn_logit_softcapping: null }), { attention: { softCap: null } }],
    [
      "gemma3's two ropes, one scaled",
      edited("gemma3", { rope_parameters: undefined, rope_scaling: { rope_type: "linear", factor: 8 } }),
      {
        ropes: [
          { theta: 1e6, scaling: { kind: "linear", factor: 8 } },
          { theta: 1e4, scaling: { kind: "none" } },
        ],
        layers: [{ window: 7, rope: 1 }, { rope: 1 }, { window: null, rope: 0 }],
      },
    ],
    [
      "mistral's default window",
      edited("mistral", { sliding_window: undefined }),
      { layers: [{ window: 4096 }, {}, {}] },
    ],
    ["mistral without window", edited("mistral", { sliding_window: null }), { layers: [{ window: null }, {}, {}] }],
    [
      "mistral's layers, each its own",
      edited("mistral", {
        sliding_window: 7,
        layer_types: ["sliding_attention", "full_attention", "sliding_attention"],
      }),
      { layers: [{ window: 7 }, { window: null }, { window: 7 }] },
    ],
    [
      "gpt_neo's attention_layers before attention_types",
      edited("gpt_neo", {
        attention_types: [[["local"], 4]],
        attention_layers: ["global", "local", "global", "local"],
      }),
      { layers: [{ window: null }, { window: 7 }, { window: null }, { window: 7 }] },
    ],
    [
      "qwen2's upper layers",
      edited("qwen2", { use_sliding_window: true, sliding_window: 9, max_window_layers: 1, layer_types: undefined }),
      { layers: [{ window: null }, { window: 9 }, { window: 9 }] },
    ],
    ["smollm3's layer without RoPE", fixtureConfig("smollm3"), { layers: [{ rope: 0 }, { rope: 0 }, { rope: null }] }],
    ["granite's multipliers", fixtureConfig("granite"), { block: { residualScale: 0.22 }, unembed: { scale: 1 / 8 } }],
    ["cohere's qk norm", edited("cohere", { use_qk_norm: true }), { attention: { qkNorm: "perHead" } }],
    ["cohere's RoPE", fixtureConfig("cohere"), { ropes: [{ style: "interleaved" }], unembed: { scale: 0.0625 } }],
    [
      "phi's qk norm",
      edited("phi", { qk_layernorm: true }),
      { attention: { qkNorm: "head", qkNormSpec: { kind: "layer" } } },
    ],
    [
      "a share of the head beside RoPE settings that are proportional",
      edited("llama", { rope_parameters: { rope_type: "proportional", factor: 2 }, partial_rotary_factor: 0.5 }),
      { ropes: [{ rotaryDim: 8, scaling: { kind: "proportional", factor: 2, share: 0.5 } }] },
    ],
    ["olmo2's norms", fixtureConfig("olmo2"), { block: { norms: "post" }, attention: { qkNorm: "full" } }],
    [
      "stablelm in parallel",
      edited("stablelm", { use_parallel_residual: true }),
      { block: { parallelSharedNorm: true } },
    ],
    ["gptj's rotary_dim", fixtureConfig("gptj"), { ropes: [{ rotaryDim: 4, style: "interleaved" }] }],
    ["falcon multi-query", fixtureConfig("falcon"), { nKvHeads: 1, block: { parallelSharedNorm: true } }],
    [
      "falcon's new decoder",
      edited("falcon", { new_decoder_architecture: true, num_kv_heads: 2 }),
      {
        nKvHeads: 2,
        block: { residual: "parallel", parallelSharedNorm: false },
        weights: {
          "ln1.w": { tensor: "transformer.h.{i}.ln_attn.weight" },
          "attn.W_K": { rows: { groups: 2, groupSize: 32, start: 16, count: 8 } },
        },
      },
    ],
    [
      "falcon's new decoder with one norm",
      edited("falcon", { new_decoder_architecture: true, num_kv_heads: 2, num_ln_in_parallel_attn: 1 }),
      { block: { residual: "parallel", parallelSharedNorm: true } },
    ],
    [
      "falcon head by head, sequential",
      edited("falcon", { multi_query: false, parallel_attn: false, bias: true }),
      {
        nKvHeads: 4,
        block: { residual: "sequential" },
        weights: { "attn.b_V": { rows: { groups: 4, groupSize: 24, start: 16, count: 8 } } },
      },
    ],
    [
      "dynamic scaling and the longest sequence",
      edited("llama", { rope_parameters: undefined, rope_scaling: { type: "dynamic", factor: 2 } }),
      { maxPositions: 256, ropes: [{ scaling: { kind: "dynamic", factor: 2, originalMaxPositions: 128 } }] },
    ],
    [
      "yarn's defaults",
      edited("qwen2", {
        rope_parameters: undefined,
        rope_scaling: { type: "yarn", factor: 4, original_max_position_embeddings: 128 },
      }),
      {
        maxPositions: 512,
        ropes: [{ scaling: { betaFast: 32, betaSlow: 1, attentionFactor: 0.1 * Math.log(4) + 1, truncate: true } }],
      },
    ],
  ])("%s", (_, config, expected) => {
    expect(spec(config)).toMatchObject(expected);
  });

  it("takes a list for the layers where all are alike (hunyuan_v1_moe)", () => {
    const config = fixtureConfig("../types/hunyuan_v1_moe") as { num_experts: number; moe_topk: number };
    const lists = { num_experts: new Array(3).fill(config.num_experts), moe_topk: new Array(3).fill(config.moe_topk) };
    expect(spec({ ...config, ...lists })).toEqual(spec(config));
    expect(() => spec({ ...config, moe_topk: [1, 2, 2] })).toThrow(/moe_topk = .1,2,2. differs from layer to layer/);
  });

  it("adds the biases a config asks for", () => {
    const weights = spec(edited("llama", { attention_bias: true, mlp_bias: true })).weights;
    for (const name of ["attn.b_Q", "attn.b_O", "mlp.b_gate", "mlp.b_in", "mlp.b_out"] as const) {
      expect(weights[name]?.tensor, name).toMatch(/\.bias$/);
    }
    expect(spec(edited("starcoder2", { use_bias: false })).weights).not.toHaveProperty(["mlp.b_in"]);
    expect(spec(edited("starcoder2", { use_bias: false })).weights).toHaveProperty(["ln1.b"]);
    const slow = spec(edited("bloom", { slow_but_exact: true, pretraining_tp: 2 })).weights;
    expect(slow).not.toHaveProperty(["attn.b_O"]);
    expect(slow).not.toHaveProperty(["mlp.b_out"]);
    expect(slow).toHaveProperty(["attn.b_Q"]);
    expect(spec(edited("bloom", { slow_but_exact: true, pretraining_tp: 1 }))).toEqual(spec(fixtureConfig("bloom")));
    expect(spec(edited("opt", { enable_bias: false })).weights).not.toHaveProperty(["attn.b_Q"]);
    expect(spec(edited("gpt_neox", { attention_bias: false })).weights).not.toHaveProperty(["attn.b_Q"]);
  });

  it("computes ALiBi slopes for any number of heads", () => {
    expect(alibiSlopes(8)).toEqual([1, 2, 3, 4, 5, 6, 7, 8].map((n) => 2 ** -n));
    expect(alibiSlopes(4)).toEqual([2 ** -2, 2 ** -4, 2 ** -6, 2 ** -8]);
    expect(alibiSlopes(6)).toEqual([2 ** -2, 2 ** -4, 2 ** -6, 2 ** -8, 2 ** -1, 2 ** -3]);
    expect(alibiSlopes(112)).toHaveLength(112);
  });
});

const SCALED = (settings: Config) => ({ rope_parameters: undefined, rope_scaling: settings });

describe("settings that are not supported are refused by name", () => {
  it.each<[string, Config]>([
    ["add_cross_attention", edited("gpt2", { add_cross_attention: true })],
    ["activation_function", edited("gpt2", { activation_function: "prelu" })],
    ["hidden_act", edited("llama", { hidden_act: "xielu" })],
    ["is_encoder_decoder", edited("opt", { is_encoder_decoder: true })],
    ["quantization_config.quant_method", edited("llama", { quantization_config: { bits: 4 } })],
    ["pruned_heads", edited("gpt2", { pruned_heads: { 0: [1] } })],
    ["parallel_attn", edited("falcon", { new_decoder_architecture: true, num_kv_heads: 2, parallel_attn: false })],
    ["num_ln_in_parallel_attn", edited("falcon", { num_ln_in_parallel_attn: 2 })],
    ["num_kv_heads", edited("falcon", { new_decoder_architecture: true, num_kv_heads: 3 })],
    ["rotary_dim", edited("gptj", { rotary_dim: null })],
    ["attention_types", edited("gpt_neo", { attention_types: [[["global", "local"], 3]] })],
    [
      "attention_types",
      edited("gpt_neo", { attention_types: [[["global", "sparse", "global"], 1]], attention_layers: undefined }),
    ],
    ["layer_types", edited("qwen2", { layer_types: ["full_attention", "chunked_attention", "full_attention"] })],
    ["layer_types", edited("qwen3", { layer_types: ["full_attention", "sliding_attention", "full_attention"] })],
    ["layer_types", edited("gemma2", { layer_types: ["full_attention"] })],
    [
      "layer_types",
      edited("mistral", {
        sliding_window: null,
        layer_types: ["full_attention", "sliding_attention", "sliding_attention"],
      }),
    ],
    ["no_rope_layers", edited("smollm3", { no_rope_layers: [1, 0] })],
    ["hidden_size", edited("gpt_neox", { hidden_size: 30 })],
    [
      "partial_rotary_factor",
      edited("llama", { ...SCALED({ type: "linear", factor: 2 }), partial_rotary_factor: 0.5 }),
    ],
    ["rotary_pct", edited("gpt_neox", { rope_parameters: undefined, rotary_pct: 0.4 })],
    ["partial_rotary_factor", edited("phi", { partial_rotary_factor: 0.4, rope_parameters: undefined })],
    ["rope_scaling.type", edited("phi3", SCALED({ type: "linear", factor: 2 }))],
    ["rope_scaling.type", edited("llama", SCALED({ type: "su" }))],
    ["rope_scaling.long_factor", edited("phi3", SCALED({ type: "su", short_factor: [1, 1, 1, 1], long_factor: "1" }))],
    ["afn", { model_type: "openai-gpt", afn: "tanh" }],
    ["attn_config.alibi", { model_type: "mpt", attn_config: { alibi: false } }],
    ["attn_config.prefix_lm", { model_type: "mpt", attn_config: { prefix_lm: true } }],
    ["num_local_experts", { model_type: "granitemoehybrid", num_local_experts: 4 }],
    ["num_local_experts", { model_type: "granitemoehybrid" }],
    ["layer_types", { model_type: "granitemoehybrid", num_local_experts: 0 }],
    ["layer_rope_theta", { model_type: "granite_swa", layer_rope_theta: [10000] }],
    ["text_config.model_type", { model_type: "llava", text_config: { model_type: "t5" } }],
    ["text_config.quantization_config", { model_type: "mistral3", text_config: { quantization_config: { bits: 4 } } }],
    ["n_head", { model_type: "codegen", n_head: 6, n_embd: 48 }],
    ["rope_scaling.type", edited("qwen2", SCALED({ type: "mrope", mrope_section: [1, 1, 2] }))],
    ["rope_parameters.full_attention", edited("llama", { rope_parameters: { full_attention: { rope_theta: 1 } } })],
    ["tie_word_embeddings", { model_type: "gemma3", tie_word_embeddings: false, text_config: fixtureConfig("gemma3") }],
    ["text_config", { model_type: "gemma3" }],
  ])("%s", (setting, config) => {
    const error = failure(config);
    expect(error.code).toBe("config/unsupported");
    expect(error.message).toMatch(/^config\.json: /);
    expect(error.message.slice("config.json: ".length).split(" ")[0]).toMatch(new RegExp(`(^|\\.)${setting}$`));
  });

  it.each<[string, string, unknown]>([
    ["config/missing", "rope_scaling.factor is missing", edited("llama", SCALED({ type: "linear" }))],
    ["config/missing", "model_type is missing", {}],
    ["config/unsupported", "n_embd = 32 disagrees with hidden_size = 64", edited("gpt2", { hidden_size: 64 })],
    ["config/unsupported", "num_hidden_layers = 20000 is more than", edited("llama", { num_hidden_layers: 20000 })],
    ["config/unsupported", "hidden_act = null must be a string", edited("llama", { hidden_act: null })],
    ["config/unsupported", 'hidden_act = "constructor" is not', edited("llama", { hidden_act: "constructor" })],
    ["config/unsupported", 'rope_scaling.type = "toString" is', edited("llama", SCALED({ type: "toString" }))],
    [
      "config/unsupported",
      'hidden_size = "32" must be a positive whole number',
      edited("llama", { hidden_size: "32" }),
    ],
    ["config/unsupported", "hidden_size = 0 must be a positive whole number", edited("llama", { hidden_size: 0 })],
    ["config/unsupported", "rope_parameters = 3 must be an object", edited("llama", { rope_parameters: 3 })],
    ["config/spec", "nHeads = 4 is not a multiple of nKvHeads = 3", edited("llama", { num_key_value_heads: 3 })],
    ["config/not-an-object", "expected a JSON object, but found []", []],
    ["config/not-an-object", "expected a JSON object, but found null", null],
  ])("%s: %s", (code, message, config) => {
    const error = failure(config);
    expect(error.code).toBe(code);
    expect(error.message).toContain(message);
  });
});
