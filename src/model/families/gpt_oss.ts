/** gpt-oss: attention with sinks, every other layer through a window, and experts with biases and a clamped SwiGLU. */
import { ConfigReader } from "../config.ts";
import type { TensorSource } from "../spec.ts";
import { type Family, rmsNorm, windowedLayers } from "./common.ts";
import { gateByUp, softmaxRouting, withExperts } from "./experts.ts";
import { BLOCK, llamaLike } from "./llama-like.ts";

const DEFAULTS = {
  nLayers: 36,
  dModel: 2880,
  nHeads: 64,
  nKvHeads: 8,
  dHead: 64,
  dMlp: 2880,
  vocabSize: 201088,
  maxPositions: 131072,
};

/** transformers' RoPE where the config has none. */
const YARN = {
  rope_type: "yarn",
  factor: 32,
  beta_fast: 32,
  beta_slow: 1,
  truncate: false,
  original_max_position_embeddings: 4096,
};

export const gptOss: Family = (given) => {
  const config =
    given.has("rope_parameters") || given.has("rope_scaling")
      ? given
      : given.with(ConfigReader.from({ rope_parameters: YARN }, given.label));
  // The gate's gain is what the quick GELU has.
  config.requireFixed({ swiglu_alpha: 1.702 });
  const spec = llamaLike(config, "gpt_oss", DEFAULTS, {
    norm: rmsNorm(config.number("rms_norm_eps", 1e-5)),
    qkvBias: config.boolean("attention_bias", true),
    activation: "gelu_quick",
    rope: { theta: 150000 },
  });
  const types = spec.layers.map((_, layer) => (layer % 2 === 0 ? "sliding_attention" : "full_attention"));
  const attending = {
    ...spec,
    attention: { ...spec.attention, sinks: true },
    layers: windowedLayers(config, types, config.nullableInteger("sliding_window", 128)),
    weights: { ...spec.weights, "attn.sinks": { tensor: `${BLOCK}.self_attn.sinks` } },
  };
  const experts = {
    count: config.integer(["num_local_experts", "num_experts"], 128),
    perToken: config.integer("num_experts_per_tok", 4),
    dExpert: spec.dMlp,
    routing: softmaxRouting(true),
    clamp: { limit: config.number("swiglu_limit", 7), plus: 1 },
  };
  const module = `${BLOCK}.mlp`;
  const matrices = gateByUp(`${module}.experts.gate_up_proj`, spec.dMlp);
  const biases = gateByUp(`${module}.experts.gate_up_proj_bias`, spec.dMlp);
  const stored = (source: TensorSource): TensorSource => ({ ...source, transpose: true });
  return withExperts(attending, experts, {
    "mlp.W_router": { tensor: `${module}.router.weight` },
    "mlp.b_router": { tensor: `${module}.router.bias` },
    "mlp.experts.W_gate": stored(matrices.gate),
    "mlp.experts.b_gate": biases.gate,
    "mlp.experts.W_in": stored(matrices.up),
    "mlp.experts.b_in": biases.up,
    "mlp.experts.W_out": stored({ tensor: `${module}.experts.down_proj` }),
    "mlp.experts.b_out": { tensor: `${module}.experts.down_proj_bias` },
  });
};
