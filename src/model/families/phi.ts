/** Phi 1 to 2: attention and MLP in parallel behind one norm, biases everywhere, RoPE on part of each head. */
import type { ConfigReader } from "../config.ts";
import type { ModelSpec } from "../spec.ts";
import { baseSpec, head, layerNorm, linear, norm, readSizes, uniformLayers } from "./common.ts";
import { BLOCK } from "./llama-like.ts";
import { PARTIAL_HEAD_KINDS, readRope, stretchedMaxPositions } from "./rope-config.ts";

const DEFAULTS = { nLayers: 24, dModel: 2048, nHeads: 32, dMlp: 8192, vocabSize: 51200, maxPositions: 2048 };

export function phi(config: ConfigReader): ModelSpec {
  const sizes = readSizes(config, DEFAULTS);
  const { dHead, maxPositions } = sizes;
  const base = baseSpec("phi", sizes, layerNorm(config.number("layer_norm_eps", 1e-5)));
  const rope = readRope(config, {
    ...{ dHead, maxPositions, style: "half", theta: 10000, partial: 0.5 },
    kinds: PARTIAL_HEAD_KINDS,
  });
  const qkNorm = config.boolean("qk_layernorm", false);
  const tied = config.boolean("tie_word_embeddings", false);
  const bias = { bias: true };
  return {
    ...base,
    maxPositions: stretchedMaxPositions(maxPositions, [rope]),
    block: { ...base.block, residual: "parallel", parallelSharedNorm: true },
    attention: { ...base.attention, qkNorm: qkNorm ? "head" : "none" },
    mlp: { kind: "plain", activation: config.activation("hidden_act", "gelu_new") },
    layers: uniformLayers(sizes, { window: null, rope: 0 }),
    ropes: [rope],
    unembed: { ...base.unembed, tied },
    weights: {
      "embed.W_E": { tensor: "model.embed_tokens.weight" },
      ...norm("ln1", `${BLOCK}.input_layernorm`, bias),
      ...linear("attn.Q", `${BLOCK}.self_attn.q_proj`, bias),
      ...linear("attn.K", `${BLOCK}.self_attn.k_proj`, bias),
      ...linear("attn.V", `${BLOCK}.self_attn.v_proj`, bias),
      ...linear("attn.O", `${BLOCK}.self_attn.dense`, bias),
      ...(qkNorm ? norm("attn.qNorm", `${BLOCK}.self_attn.q_layernorm`, bias) : {}),
      ...(qkNorm ? norm("attn.kNorm", `${BLOCK}.self_attn.k_layernorm`, bias) : {}),
      ...linear("mlp.in", `${BLOCK}.mlp.fc1`, bias),
      ...linear("mlp.out", `${BLOCK}.mlp.fc2`, bias),
      ...norm("lnFinal", "model.final_layernorm", bias),
      ...head(tied),
      "unembed.b_U": { tensor: "lm_head.bias" },
    },
  };
}
