/** OPT: learned positions stored two rows late, pre-norm blocks. The 350m variant (post-norm, projected) is refused. */
import { SIZE_NAMES } from "../config.ts";
import { baseSpec, type Family, head, layerNorm, linear, norm, readEvenSizes, separateQkv } from "./common.ts";

/** The norms have torch's default eps; the config cannot change it. */
const OPT_EPS = 1e-5;

const DEFAULTS = { nLayers: 12, dModel: 768, nHeads: 12, dMlp: 3072, vocabSize: 50272, maxPositions: 2048 };
const NAMES = { ...SIZE_NAMES, dMlp: ["ffn_dim"] };

export const opt: Family = (config) => {
  const sizes = readEvenSizes(config, DEFAULTS, NAMES);
  config.requireFixed({
    do_layer_norm_before: true,
    word_embed_proj_dim: sizes.dModel,
    _remove_final_layer_norm: false,
  });
  const bias = config.boolean("enable_bias", true);
  const tied = config.boolean("tie_word_embeddings", true);
  const base = baseSpec("opt", sizes, layerNorm(OPT_EPS), { tied });
  const block = "model.decoder.layers.{i}";
  return {
    ...base,
    positions: { kind: "learned", offset: 2 },
    mlp: { kind: "plain", activation: config.activation("activation_function", "relu") },
    weights: {
      "embed.W_E": { tensor: "model.decoder.embed_tokens.weight" },
      "embed.W_pos": { tensor: "model.decoder.embed_positions.weight" },
      ...norm("ln1", `${block}.self_attn_layer_norm`, { bias: true }),
      ...separateQkv(`${block}.self_attn`, bias),
      ...linear("attn.O", `${block}.self_attn.out_proj`, { bias }),
      ...norm("ln2", `${block}.final_layer_norm`, { bias: true }),
      ...linear("mlp.in", `${block}.fc1`, { bias }),
      ...linear("mlp.out", `${block}.fc2`, { bias }),
      ...norm("lnFinal", "model.decoder.final_layer_norm", { bias: true }),
      ...head(tied),
    },
  };
};
