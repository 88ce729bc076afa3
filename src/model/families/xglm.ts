/** XGLM: OPT with sinusoidal positions, a scaled embedding and GELU. */
import { SIZE_NAMES } from "../config.ts";
import { baseSpec, type Family, head, layerNorm, linear, norm, readEvenSizes, separateQkv } from "./common.ts";

/** The norms have torch's default eps; the config cannot change it. */
const EPS = 1e-5;

const DEFAULTS = { nLayers: 24, dModel: 1024, nHeads: 16, dMlp: 4096, vocabSize: 256008, maxPositions: 2048 };
const NAMES = {
  ...SIZE_NAMES,
  nLayers: ["num_layers", "decoder_layers", "num_hidden_layers"],
  dModel: ["d_model", "hidden_size"],
  nHeads: ["attention_heads", "decoder_attention_heads", "num_attention_heads"],
  dMlp: ["ffn_dim", "decoder_ffn_dim"],
};

export const xglm: Family = (config) => {
  config.requireFixed({ add_cross_attention: false });
  const sizes = readEvenSizes(config, DEFAULTS, NAMES);
  const tied = config.boolean("tie_word_embeddings", true);
  const base = baseSpec("xglm", sizes, layerNorm(EPS), { tied });
  const block = "model.layers.{i}";
  const bias = { bias: true };
  return {
    ...base,
    embed: { ...base.embed, scale: config.boolean("scale_embedding", true) ? Math.sqrt(sizes.dModel) : 1 },
    positions: { kind: "sinusoidal", offset: 2 },
    mlp: { kind: "plain", activation: config.activation("activation_function", "gelu") },
    weights: {
      "embed.W_E": { tensor: "model.embed_tokens.weight" },
      ...norm("ln1", `${block}.self_attn_layer_norm`, bias),
      ...separateQkv(`${block}.self_attn`, true),
      ...linear("attn.O", `${block}.self_attn.out_proj`, bias),
      ...norm("ln2", `${block}.final_layer_norm`, bias),
      ...linear("mlp.in", `${block}.fc1`, bias),
      ...linear("mlp.out", `${block}.fc2`, bias),
      ...norm("lnFinal", "model.layer_norm", bias),
      ...head(tied),
    },
  };
};
