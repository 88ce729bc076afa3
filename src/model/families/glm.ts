/** GLM 4 (0414 and before): Llama with interleaved RoPE on half of each head, and the MLP's gate and up projections in one tensor. */
import type { ConfigReader } from "../config.ts";
import type { ModelSpec } from "../spec.ts";
import { type Family, norm, rmsNorm, type Weights } from "./common.ts";
import { BLOCK, fusedGateUp, llamaLike } from "./llama-like.ts";
import { PARTIAL_HEAD_KINDS } from "./rope-config.ts";

const DEFAULTS = {
  nLayers: 40,
  dModel: 4096,
  nHeads: 32,
  nKvHeads: 2,
  dHead: 128,
  dMlp: 13696,
  vocabSize: 151552,
  maxPositions: 131072,
};

export const glm: Family = (config) => glmLike(config, "glm");

/** GLM 4 with norms before and after attention and MLP. */
export const glm4: Family = (config) => {
  const spec = glmLike(config, "glm4", {
    ...norm("ln1", `${BLOCK}.input_layernorm`, { bias: false }),
    ...norm("ln1Post", `${BLOCK}.post_self_attn_layernorm`, { bias: false }),
    ...norm("ln2", `${BLOCK}.post_attention_layernorm`, { bias: false }),
    ...norm("ln2Post", `${BLOCK}.post_mlp_layernorm`, { bias: false }),
  });
  return { ...spec, block: { ...spec.block, norms: "sandwich" } };
};

function glmLike(config: ConfigReader, family: string, blockNorms?: Weights): ModelSpec {
  const spec = llamaLike(config, family, DEFAULTS, {
    norm: rmsNorm(config.number("rms_norm_eps", 1.5625e-7)),
    ...(blockNorms && { blockNorms }),
    qkvBias: config.boolean("attention_bias", true),
    outBias: false,
    rope: { partial: 0.5, style: "interleaved", kinds: PARTIAL_HEAD_KINDS },
  });
  return { ...spec, weights: { ...spec.weights, ...fusedGateUp(`${BLOCK}.mlp.gate_up_proj`, spec.dMlp) } };
}
