/** BLOOM: ALiBi in place of positions, a norm right after the embedding, q, k and v packed head by head. */
import { SIZE_NAMES } from "../config.ts";
import { baseSpec, type Family, head, layerNorm, linear, norm, packedQkv, readEvenSizes } from "./common.ts";

const DEFAULTS = { nLayers: 2, dModel: 64, nHeads: 8, vocabSize: 250880, maxPositions: 2048 };

/** No names for the MLP: it is always four times as wide as the residual. */
const NAMES = {
  ...SIZE_NAMES,
  nLayers: ["n_layer", "num_hidden_layers"],
  dModel: ["hidden_size", "n_embed"],
  nHeads: ["n_head", "num_attention_heads"],
  dMlp: [],
  maxPositions: ["seq_length"],
};

export const bloom: Family = (config) => {
  // ALiBi has no longest position: without seq_length, the length BLOOM was trained at.
  const sizes = readEvenSizes(config, DEFAULTS, NAMES);
  const { nHeads, dHead } = sizes;
  const tied = config.boolean("tie_word_embeddings", true);
  const base = baseSpec("bloom", sizes, layerNorm(config.number("layer_norm_epsilon", 1e-5)), { tied });
  // transformers' slow way to add up products that were split over devices leaves out the biases of these two.
  const isSlow = config.boolean("slow_but_exact", false) && config.integer("pretraining_tp", 1) > 1;
  const isNormed = config.boolean("apply_residual_connection_post_layernorm", false);
  const block = "transformer.h.{i}";
  const qkv = { groups: nHeads, q: dHead, k: dHead, v: dHead };
  return {
    ...base,
    embed: { ...base.embed, norm: true },
    block: { ...base.block, ...(isNormed && { normedResidual: true }) },
    positions: { kind: "alibi", slopes: alibiSlopes(nHeads) },
    mlp: { kind: "plain", activation: "gelu_tanh" },
    weights: {
      "embed.W_E": { tensor: "transformer.word_embeddings.weight" },
      ...norm("embed.norm", "transformer.word_embeddings_layernorm", { bias: true }),
      ...norm("ln1", `${block}.input_layernorm`, { bias: true }),
      ...packedQkv(`${block}.self_attention.query_key_value`, qkv, { bias: true }),
      ...linear("attn.O", `${block}.self_attention.dense`, { bias: !isSlow }),
      ...norm("ln2", `${block}.post_attention_layernorm`, { bias: true }),
      ...linear("mlp.in", `${block}.mlp.dense_h_to_4h`, { bias: true }),
      ...linear("mlp.out", `${block}.mlp.dense_4h_to_h`, { bias: !isSlow }),
      ...norm("lnFinal", "transformer.ln_f", { bias: true }),
      ...head(tied),
    },
  };
};

/**
 * One slope a head (https://arxiv.org/abs/2108.12409): a geometric series over the largest power of two heads, and
 * for the heads left over every second term of the series for twice as many. In float32, as transformers computes it.
 */
export function alibiSlopes(nHeads: number): number[] {
  const power = 2 ** Math.floor(Math.log2(nHeads));
  const series = (heads: number, exponent: number) =>
    Math.fround(Math.fround(2 ** -(2 ** -(Math.log2(heads) - 3))) ** exponent);
  const slopes = Array.from({ length: power }, (_, i) => series(power, i + 1));
  const extra = Array.from({ length: nHeads - power }, (_, i) => series(2 * power, 2 * i + 1));
  return [...slopes, ...extra];
}
