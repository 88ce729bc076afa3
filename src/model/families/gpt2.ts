/** GPT-2: learned positions, pre-norm blocks, Conv1D weights stored [in, out], one packed q, k, v. */
import { SIZE_NAMES } from "../config.ts";
import { baseSpec, type Family, head, layerNorm, linear, norm, packedQkv, readEvenSizes } from "./common.ts";

const DEFAULTS = { nLayers: 12, dModel: 768, nHeads: 12, vocabSize: 50257, maxPositions: 1024 };

export const GPT2_NAMES = {
  ...SIZE_NAMES,
  nLayers: ["n_layer", "num_hidden_layers"],
  dModel: ["n_embd", "hidden_size"],
  nHeads: ["n_head", "num_attention_heads"],
  dMlp: ["n_inner"],
  maxPositions: ["n_positions", "max_position_embeddings"],
};

export const gpt2: Family = (config) => {
  config.requireFixed({ add_cross_attention: false });
  const sizes = readEvenSizes(config, DEFAULTS, GPT2_NAMES);
  const tied = config.boolean("tie_word_embeddings", true);
  const base = baseSpec("gpt2", sizes, layerNorm(config.number("layer_norm_epsilon", 1e-5)), { tied });
  const scale = config.boolean("scale_attn_weights", true) ? base.attention.scale : 1;
  const inverseLayer = config.boolean("scale_attn_by_inverse_layer_idx", false);
  const block = "transformer.h.{i}";
  const conv = { bias: true, transpose: true };
  const { dModel } = sizes;
  return {
    ...base,
    positions: { kind: "learned", offset: 0 },
    attention: { ...base.attention, scale },
    mlp: { kind: "plain", activation: config.activation("activation_function", "gelu_new") },
    layers: base.layers.map((layer, i) => (inverseLayer ? { ...layer, attentionScale: scale / (i + 1) } : layer)),
    weights: {
      "embed.W_E": { tensor: "transformer.wte.weight" },
      "embed.W_pos": { tensor: "transformer.wpe.weight" },
      ...norm("ln1", `${block}.ln_1`, { bias: true }),
      ...packedQkv(`${block}.attn.c_attn`, { groups: 1, q: dModel, k: dModel, v: dModel }, conv),
      ...linear("attn.O", `${block}.attn.c_proj`, conv),
      ...norm("ln2", `${block}.ln_2`, { bias: true }),
      ...linear("mlp.in", `${block}.mlp.c_fc`, conv),
      ...linear("mlp.out", `${block}.mlp.c_proj`, conv),
      ...norm("lnFinal", "transformer.ln_f", { bias: true }),
      ...head(tied),
    },
  };
};
