/**
 * OPT: learned positions stored two rows late, pre-norm blocks. The 350m variant norms after each addition, has no final norm, and a
 * projection between its embedding and the residual.
 */
import { SIZE_NAMES } from "../config.ts";
import {
  baseSpec,
  type Family,
  head,
  layerNorm,
  linear,
  norm,
  readEvenSizes,
  separateQkv,
  type Weights,
} from "./common.ts";

/** The norms have torch's default eps; the config cannot change it. */
const OPT_EPS = 1e-5;

const DEFAULTS = { nLayers: 12, dModel: 768, nHeads: 12, dMlp: 3072, vocabSize: 50272, maxPositions: 2048 };
const NAMES = { ...SIZE_NAMES, dMlp: ["ffn_dim"] };

export const opt: Family = (config) => {
  const sizes = readEvenSizes(config, DEFAULTS, NAMES);
  const isPreNorm = config.boolean("do_layer_norm_before", true);
  const hasFinalNorm = isPreNorm && !config.boolean("_remove_final_layer_norm", false);
  const affine = config.boolean("layer_norm_elementwise_affine", true);
  const width = config.nullableInteger("word_embed_proj_dim", null) ?? sizes.dModel;
  const bias = config.boolean("enable_bias", true);
  const tied = config.boolean("tie_word_embeddings", true);
  const base = baseSpec("opt", sizes, { ...layerNorm(OPT_EPS), ...(!affine && { affine }) }, { tied });
  const block = "model.decoder.layers.{i}";
  const ownNorm = (...names: Parameters<typeof norm>) => (affine ? norm(...names) : {});
  return {
    ...base,
    embed: { ...base.embed, ...(width !== sizes.dModel && { width }) },
    positions: { kind: "learned", offset: 2 },
    block: { ...base.block, norms: isPreNorm ? "pre" : "added" },
    unembed: { ...base.unembed, ...(!hasFinalNorm && { norm: false }) },
    mlp: { kind: "plain", activation: config.activation("activation_function", "relu") },
    weights: {
      "embed.W_E": { tensor: "model.decoder.embed_tokens.weight" },
      "embed.W_pos": { tensor: "model.decoder.embed_positions.weight" },
      ...(width === sizes.dModel ? {} : projections()),
      ...ownNorm(isPreNorm ? "ln1" : "ln1Post", `${block}.self_attn_layer_norm`, { bias: true }),
      ...separateQkv(`${block}.self_attn`, bias),
      ...linear("attn.O", `${block}.self_attn.out_proj`, { bias }),
      ...ownNorm(isPreNorm ? "ln2" : "ln2Post", `${block}.final_layer_norm`, { bias: true }),
      ...linear("mlp.in", `${block}.fc1`, { bias }),
      ...linear("mlp.out", `${block}.fc2`, { bias }),
      ...(hasFinalNorm ? ownNorm("lnFinal", "model.decoder.final_layer_norm", { bias: true }) : {}),
      ...head(tied),
    },
  };
};

function projections(): Weights {
  return {
    "embed.W_proj": { tensor: "model.decoder.project_in.weight" },
    "unembed.W_proj": { tensor: "model.decoder.project_out.weight" },
  };
}
