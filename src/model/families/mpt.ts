/** MPT: ALiBi in place of positions, LayerNorms and matrices without biases, q, k and v in one tensor. */
import { type ConfigReader, SIZE_NAMES } from "../config.ts";
import { baseSpec, type Family, head, layerNorm, linear, norm, packedQkv, readEvenSizes } from "./common.ts";

const DEFAULTS = { nLayers: 24, dModel: 2048, nHeads: 16, vocabSize: 50368, maxPositions: 2048 };

const NAMES = {
  ...SIZE_NAMES,
  nLayers: ["n_layers", "num_hidden_layers"],
  dModel: ["d_model", "hidden_size"],
  nHeads: ["n_heads", "num_attention_heads"],
  dMlp: [],
  maxPositions: ["max_seq_len"],
};

export const mpt: Family = (config) => {
  const evenSizes = readEvenSizes(config, DEFAULTS, NAMES);
  const { nHeads, dModel, dHead } = evenSizes;
  const sizes = { ...evenSizes, dMlp: config.integer("expansion_ratio", 4) * dModel };
  const settings = config.child("attn_config") ?? config.empty("attn_config");
  refuseOthers(config, settings);
  const tied = config.boolean("tie_word_embeddings", true);
  const base = baseSpec("mpt", sizes, layerNorm(config.number("layer_norm_epsilon", 1e-5)), { tied });
  const clamp = settings.nullableNumber("clip_qkv", null);
  const block = "transformer.blocks.{i}";
  const bias = { bias: false };
  return {
    ...base,
    positions: { kind: "alibi", slopes: mptSlopes(nHeads, settings.number("alibi_bias_max", 8)) },
    attention: {
      ...base.attention,
      scale: settings.nullableNumber("softmax_scale", null) ?? 1 / Math.sqrt(dHead),
      ...(clamp !== null && { clamp }),
    },
    mlp: { kind: "plain", activation: "gelu" },
    weights: {
      "embed.W_E": { tensor: "transformer.wte.weight" },
      ...norm("ln1", `${block}.norm_1`, bias),
      ...packedQkv(`${block}.attn.Wqkv`, { groups: 1, q: dModel, k: dModel, v: dModel }, bias),
      ...linear("attn.O", `${block}.attn.out_proj`, bias),
      ...norm("ln2", `${block}.norm_2`, bias),
      ...linear("mlp.in", `${block}.ffn.up_proj`, bias),
      ...linear("mlp.out", `${block}.ffn.down_proj`, bias),
      ...norm("lnFinal", "transformer.norm_f", bias),
      ...head(tied),
    },
  };
};

/**
 * Settings of MPT's first code that would change the computation. transformers computes as if they were off, too, and like it superlens
 * reads neither `qk_ln` nor `no_bias`: tensors that belong to them are reported as unused.
 */
function refuseOthers(config: ConfigReader, settings: ConfigReader): void {
  config.requireFixed({ logit_scale: undefined });
  settings.requireFixed({ alibi: true, attn_type: "multihead_attention", prefix_lm: false });
}

/** A slope a head, as MPT orders them where heads are no power of two: every second of the next one first. */
function mptSlopes(nHeads: number, most: number): number[] {
  const power = 2 ** Math.ceil(Math.log2(nHeads));
  const slopes = Array.from({ length: power }, (_, i) => 1 / 2 ** Math.fround((i + 1) * Math.fround(most / power)));
  if (power === nHeads) return slopes;
  const [even, odd] = [0, 1].map((rest) => slopes.filter((_, i) => i % 2 === rest)) as [number[], number[]];
  return [...odd, ...even].slice(0, nHeads);
}
