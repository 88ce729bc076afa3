/** OLMo 2: Llama with norms after attention and MLP instead of before, and normed q and k (over all heads together). */
import type { ConfigReader } from "../config.ts";
import type { ModelSpec } from "../spec.ts";
import { norm, readSizes, rmsNorm } from "./common.ts";
import { BLOCK, llamaLike, qkNorms } from "./llama-like.ts";

const DEFAULTS = { nLayers: 32, dModel: 4096, nHeads: 32, dMlp: 11008, vocabSize: 50304, maxPositions: 2048 };

export function olmo2(config: ConfigReader): ModelSpec {
  const spec = llamaLike(config, {
    family: "olmo2",
    sizes: readSizes(config, DEFAULTS),
    norm: rmsNorm(config.number("rms_norm_eps", 1e-5)),
    qkvBias: config.boolean("attention_bias", false),
    tied: false,
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
}
