/** Persimmon: LayerNorms, also of each head's q and k, squared ReLUs, RoPE on half of each head, q, k and v packed head by head. */
import { type Family, layerNorm, linear, norm, packedQkv } from "./common.ts";
import { BLOCK, llamaLike } from "./llama-like.ts";
import { PARTIAL_HEAD_KINDS } from "./rope-config.ts";

const DEFAULTS = { nLayers: 36, dModel: 4096, nHeads: 64, dMlp: 16384, vocabSize: 262144, maxPositions: 16384 };

export const persimmon: Family = (config) => {
  const bias = { bias: true };
  const spec = llamaLike(config, "persimmon", DEFAULTS, {
    names: { nKvHeads: [], dHead: [] },
    norm: layerNorm(config.number("layer_norm_eps", 1e-5)),
    normBias: true,
    qkvBias: true,
    plainMlp: {
      ...linear("mlp.in", `${BLOCK}.mlp.dense_h_to_4h`, bias),
      ...linear("mlp.out", `${BLOCK}.mlp.dense_4h_to_h`, bias),
    },
    activation: config.activation("hidden_act", "relu2"),
    rope: { partial: 0.5, theta: 25000, kinds: PARTIAL_HEAD_KINDS },
  });
  const qkNorm = config.boolean("qk_layernorm", true);
  const { nHeads, dHead } = spec;
  return {
    ...spec,
    attention: { ...spec.attention, qkNorm: qkNorm ? "head" : "none" },
    weights: {
      ...spec.weights,
      ...packedQkv(`${BLOCK}.self_attn.query_key_value`, { groups: nHeads, q: dHead, k: dHead, v: dHead }, bias),
      ...linear("attn.O", `${BLOCK}.self_attn.dense`, bias),
      ...(qkNorm ? norm("attn.qNorm", `${BLOCK}.self_attn.q_layernorm`, bias) : {}),
      ...(qkNorm ? norm("attn.kNorm", `${BLOCK}.self_attn.k_layernorm`, bias) : {}),
      ...norm("lnFinal", "model.final_layernorm", bias),
    },
  };
};
