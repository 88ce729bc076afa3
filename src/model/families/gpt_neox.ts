/** GPT-NeoX and Pythia: attention and MLP in parallel with a norm each, q, k and v packed head by head. */
import { baseSpec, type Family, head, layerNorm, linear, norm, packedQkv, readEvenSizes } from "./common.ts";
import { readRope } from "./rope-config.ts";

const DEFAULTS = { nLayers: 44, dModel: 6144, nHeads: 64, dMlp: 24576, vocabSize: 50432, maxPositions: 2048 };

export const gptNeox: Family = (config) => {
  const sizes = readEvenSizes(config, DEFAULTS);
  const { nHeads, dHead, maxPositions } = sizes;
  const rope = readRope(config, {
    // head_dim, which attention does not read, counts for the share of a head that rotates.
    dHead: config.nullableInteger("head_dim", null) ?? dHead,
    ...{ maxPositions, style: "half", theta: 10000, partial: 0.25 },
    thetaName: "rotary_emb_base",
    partialName: "rotary_pct",
  });
  const parallel = config.boolean("use_parallel_residual", true);
  const attentionBias = config.boolean("attention_bias", true);
  const tied = config.boolean("tie_word_embeddings", false);
  const eps = config.number("layer_norm_eps", 1e-5);
  const base = baseSpec("gpt_neox", sizes, layerNorm(eps), { tied, ropes: [rope] });
  const block = "gpt_neox.layers.{i}";
  const qkv = { groups: nHeads, q: dHead, k: dHead, v: dHead };
  return {
    ...base,
    block: { ...base.block, residual: parallel ? "parallel" : "sequential" },
    mlp: { kind: "plain", activation: config.activation("hidden_act", "gelu") },
    weights: {
      "embed.W_E": { tensor: "gpt_neox.embed_in.weight" },
      ...norm("ln1", `${block}.input_layernorm`, { bias: true }),
      ...packedQkv(`${block}.attention.query_key_value`, qkv, { bias: attentionBias }),
      ...linear("attn.O", `${block}.attention.dense`, { bias: attentionBias }),
      ...norm("ln2", `${block}.post_attention_layernorm`, { bias: true }),
      ...linear("mlp.in", `${block}.mlp.dense_h_to_4h`, { bias: true }),
      ...linear("mlp.out", `${block}.mlp.dense_4h_to_h`, { bias: true }),
      ...norm("lnFinal", "gpt_neox.final_layer_norm", { bias: true }),
      ...head(tied, "embed_out.weight"),
    },
  };
};
