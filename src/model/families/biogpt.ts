/** BioGPT: OPT with a scaled embedding and GELU. */
import { baseSpec, type Family, head, layerNorm, linear, norm, readEvenSizes, separateQkv } from "./common.ts";

/** The norms have torch's default eps; transformers does not read layer_norm_eps here. */
const EPS = 1e-5;

const DEFAULTS = { nLayers: 24, dModel: 1024, nHeads: 16, dMlp: 4096, vocabSize: 42384, maxPositions: 1024 };

export const biogpt: Family = (config) => {
  const sizes = readEvenSizes(config, DEFAULTS);
  const tied = config.boolean("tie_word_embeddings", true);
  const base = baseSpec("biogpt", sizes, layerNorm(EPS), { tied });
  const block = "biogpt.layers.{i}";
  const bias = { bias: true };
  return {
    ...base,
    embed: { ...base.embed, scale: config.boolean("scale_embedding", true) ? Math.sqrt(sizes.dModel) : 1 },
    positions: { kind: "learned", offset: 2 },
    mlp: { kind: "plain", activation: config.activation("hidden_act", "gelu") },
    weights: {
      "embed.W_E": { tensor: "biogpt.embed_tokens.weight" },
      "embed.W_pos": { tensor: "biogpt.embed_positions.weight" },
      ...norm("ln1", `${block}.self_attn_layer_norm`, bias),
      ...separateQkv(`${block}.self_attn`, true),
      ...linear("attn.O", `${block}.self_attn.out_proj`, bias),
      ...norm("ln2", `${block}.final_layer_norm`, bias),
      ...linear("mlp.in", `${block}.fc1`, bias),
      ...linear("mlp.out", `${block}.fc2`, bias),
      ...norm("lnFinal", "biogpt.layer_norm", bias),
      ...head(tied, "output_projection.weight"),
    },
  };
};
