/** Cohere Command R: attention and MLP in parallel behind one LayerNorm without bias, interleaved RoPE, scaled logits. */
import type { ConfigReader } from "../config.ts";
import type { ModelSpec } from "../spec.ts";
import { type Family, layerNorm, norm } from "./common.ts";
import { BLOCK, llamaLike, qkNorms } from "./llama-like.ts";

const DEFAULTS = { nLayers: 40, dModel: 8192, nHeads: 64, dMlp: 22528, vocabSize: 256000, maxPositions: 8192 };

export const cohere: Family = (config) => {
  const spec = cohereLike(config, "cohere");
  if (!config.nullableBoolean("use_qk_norm", false)) return spec;
  return {
    ...spec,
    attention: { ...spec.attention, qkNorm: "perHead" },
    weights: { ...spec.weights, ...qkNorms() },
  };
};

/** What Cohere's models share. */
export function cohereLike(config: ConfigReader, family: string): ModelSpec {
  const spec = llamaLike(config, family, DEFAULTS, {
    norm: layerNorm(config.number("layer_norm_eps", 1e-5)),
    blockNorms: norm("ln1", `${BLOCK}.input_layernorm`, { bias: false }),
    rope: { theta: 500000, style: "interleaved" },
    tied: true,
  });
  return {
    ...spec,
    block: { ...spec.block, residual: "parallel", parallelSharedNorm: true },
    unembed: { ...spec.unembed, scale: config.number("logit_scale", 0.0625) },
  };
}
