/** OLMo 2: Llama with norms after attention and MLP instead of before, and normed q and k (over all heads together). */
import { type Family, norm, rmsNorm } from "./common.ts";
import { BLOCK, llamaLike, qkNorms } from "./llama-like.ts";

const DEFAULTS = { nLayers: 32, dModel: 4096, nHeads: 32, dMlp: 11008, vocabSize: 50304, maxPositions: 2048 };

export const olmo2: Family = (config) => {
  const spec = llamaLike(config, "olmo2", DEFAULTS, {
    norm: rmsNorm(config.number("rms_norm_eps", 1e-5)),
    blockNorms: {
      ...norm("ln1Post", `${BLOCK}.post_attention_layernorm`, { bias: false }),
      ...norm("ln2Post", `${BLOCK}.post_feedforward_layernorm`, { bias: false }),
    },
  });
  return {
    ...spec,
    block: { ...spec.block, norms: "post" },
    attention: { ...spec.attention, qkNorm: "full" },
    weights: { ...spec.weights, ...qkNorms() },
  };
};
