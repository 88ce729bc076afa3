/** Cohere Command R: attention and MLP in parallel behind one LayerNorm without bias, interleaved RoPE, scaled logits. */
import { type Family, layerNorm, norm } from "./common.ts";
import { BLOCK, llamaLike, qkNorms } from "./llama-like.ts";

const DEFAULTS = { nLayers: 40, dModel: 8192, nHeads: 64, dMlp: 22528, vocabSize: 256000, maxPositions: 8192 };

export const cohere: Family = (config) => {
  const spec = llamaLike(config, "cohere", DEFAULTS, {
    norm: layerNorm(config.number("layer_norm_eps", 1e-5)),
    blockNorms: norm("ln1", `${BLOCK}.input_layernorm`, { bias: false }),
    rope: { theta: 500000, style: "interleaved" },
    tied: true,
  });
  const qkNorm = config.nullableBoolean("use_qk_norm", false);
  return {
    ...spec,
    block: { ...spec.block, residual: "parallel", parallelSharedNorm: true },
    attention: { ...spec.attention, qkNorm: qkNorm ? "perHead" : "none" },
    unembed: { ...spec.unembed, scale: config.number("logit_scale", 0.0625) },
    weights: { ...spec.weights, ...(qkNorm ? qkNorms() : {}) },
  };
};
