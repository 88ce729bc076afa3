/** GPT-BigCode (SantaCoder, StarCoder): GPT-2 with matrices stored as [out, in] and, as a rule, one key-value head for all heads. */
import { baseSpec, type Family, head, layerNorm, linear, norm, packedQkv, readEvenSizes } from "./common.ts";
import { GPT2_NAMES } from "./gpt2.ts";

const DEFAULTS = { nLayers: 12, dModel: 768, nHeads: 12, vocabSize: 50257, maxPositions: 1024 };

export const gptBigcode: Family = (config) => {
  config.requireFixed({ add_cross_attention: false });
  const evenSizes = readEvenSizes(config, DEFAULTS, GPT2_NAMES);
  const { nHeads, dHead, dModel } = evenSizes;
  const isShared = config.nullableBoolean("multi_query", true);
  const sizes = { ...evenSizes, nKvHeads: isShared ? 1 : nHeads };
  const tied = config.boolean("tie_word_embeddings", true);
  const base = baseSpec("gpt_bigcode", sizes, layerNorm(config.number("layer_norm_epsilon", 1e-5)), { tied });
  const scale = config.boolean("scale_attn_weights", true) ? base.attention.scale : 1;
  const qkv = isShared
    ? { groups: 1, q: dModel, k: dHead, v: dHead }
    : { groups: nHeads, q: dHead, k: dHead, v: dHead };
  const block = "transformer.h.{i}";
  return {
    ...base,
    positions: { kind: "learned", offset: 0 },
    attention: { ...base.attention, scale },
    mlp: { kind: "plain", activation: config.activation("activation_function", "gelu_pytorch_tanh") },
    weights: {
      "embed.W_E": { tensor: "transformer.wte.weight" },
      "embed.W_pos": { tensor: "transformer.wpe.weight" },
      ...norm("ln1", `${block}.ln_1`, { bias: true }),
      ...packedQkv(`${block}.attn.c_attn`, qkv, { bias: true }),
      ...linear("attn.O", `${block}.attn.c_proj`, { bias: true }),
      ...norm("ln2", `${block}.ln_2`, { bias: true }),
      ...linear("mlp.in", `${block}.mlp.c_fc`, { bias: true }),
      ...linear("mlp.out", `${block}.mlp.c_proj`, { bias: true }),
      ...norm("lnFinal", "transformer.ln_f", { bias: true }),
      ...head(tied),
    },
  };
};
