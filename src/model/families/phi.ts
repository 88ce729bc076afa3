/** Phi 1 to 2: attention and MLP in parallel behind one norm, biases everywhere, RoPE on part of each head. */
import { type Family, layerNorm, linear, norm } from "./common.ts";
import { BLOCK, llamaLike } from "./llama-like.ts";
import { PARTIAL_HEAD_KINDS } from "./rope-config.ts";

const DEFAULTS = { nLayers: 24, dModel: 2048, nHeads: 32, dMlp: 8192, vocabSize: 51200, maxPositions: 2048 };

export const phi: Family = (config) => {
  const bias = { bias: true };
  const spec = llamaLike(config, "phi", DEFAULTS, {
    norm: layerNorm(config.number("layer_norm_eps", 1e-5)),
    blockNorms: norm("ln1", `${BLOCK}.input_layernorm`, bias),
    qkvBias: true,
    plainMlp: { ...linear("mlp.in", `${BLOCK}.mlp.fc1`, bias), ...linear("mlp.out", `${BLOCK}.mlp.fc2`, bias) },
    activation: config.activation("hidden_act", "gelu_new"),
    rope: { partial: 0.5, kinds: PARTIAL_HEAD_KINDS },
  });
  const qkNorm = config.boolean("qk_layernorm", false);
  return {
    ...spec,
    block: { ...spec.block, residual: "parallel", parallelSharedNorm: true },
    attention: { ...spec.attention, qkNorm: qkNorm ? "head" : "none" },
    weights: {
      ...spec.weights,
      ...linear("attn.O", `${BLOCK}.self_attn.dense`, bias),
      ...(qkNorm ? norm("attn.qNorm", `${BLOCK}.self_attn.q_layernorm`, bias) : {}),
      ...(qkNorm ? norm("attn.kNorm", `${BLOCK}.self_attn.k_layernorm`, bias) : {}),
      ...norm("lnFinal", "model.final_layernorm", bias),
      "unembed.b_U": { tensor: "lm_head.bias" },
    },
  };
};
