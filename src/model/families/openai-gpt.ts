/** The first GPT: GPT-2 with norms after each addition, none before the head, and tanh-GELU under the name "gelu". */
import { baseSpec, type Family, head, layerNorm, linear, norm, packedQkv, readEvenSizes } from "./common.ts";
import { GPT2_NAMES } from "./gpt2.ts";

const DEFAULTS = { nLayers: 12, dModel: 768, nHeads: 12, vocabSize: 40478, maxPositions: 512 };

/** No name for the MLP: it is always four times as wide as the residual. */
const NAMES = { ...GPT2_NAMES, dMlp: [] };

export const openaiGpt: Family = (config) => {
  const sizes = readEvenSizes(config, DEFAULTS, NAMES);
  const tied = config.boolean("tie_word_embeddings", true);
  const base = baseSpec("openai-gpt", sizes, layerNorm(config.number("layer_norm_epsilon", 1e-5)), { tied });
  const stated = config.activation("afn", "gelu");
  if (!["relu", "silu", "gelu"].includes(stated)) config.refuse("afn", "is not one of relu, silu, swish and gelu");
  const block = "transformer.h.{i}";
  const conv = { bias: true, transpose: true };
  const { dModel } = sizes;
  return {
    ...base,
    positions: { kind: "learned", offset: 0 },
    block: { ...base.block, norms: "added" },
    unembed: { ...base.unembed, norm: false },
    mlp: { kind: "plain", activation: stated === "gelu" ? "gelu_tanh" : stated },
    weights: {
      "embed.W_E": { tensor: "transformer.tokens_embed.weight" },
      "embed.W_pos": { tensor: "transformer.positions_embed.weight" },
      ...packedQkv(`${block}.attn.c_attn`, { groups: 1, q: dModel, k: dModel, v: dModel }, conv),
      ...linear("attn.O", `${block}.attn.c_proj`, conv),
      ...norm("ln1Post", `${block}.ln_1`, { bias: true }),
      ...linear("mlp.in", `${block}.mlp.c_fc`, conv),
      ...linear("mlp.out", `${block}.mlp.c_proj`, conv),
      ...norm("ln2Post", `${block}.ln_2`, { bias: true }),
      ...head(tied),
    },
  };
};
