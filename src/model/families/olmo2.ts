/** OLMo 2: Llama with norms after attention and MLP instead of before, and normed q and k (over all heads together). */
import type { ConfigReader } from "../config.ts";
import type { ModelSpec } from "../spec.ts";
import { type Family, norm, rmsNorm, type Weights } from "./common.ts";
import { BLOCK, type LlamaLike, llamaLike, qkNorms } from "./llama-like.ts";

const DEFAULTS = { nLayers: 32, dModel: 4096, nHeads: 32, dMlp: 11008, vocabSize: 50304, maxPositions: 2048 };

export const olmo2: Family = (config) => olmo2Like(config, "olmo2");

/** What OLMo 2 and 3 share. */
export function olmo2Like(config: ConfigReader, family: string, options: Pick<LlamaLike, "ropes"> = {}): ModelSpec {
  const spec = llamaLike(config, family, DEFAULTS, {
    norm: rmsNorm(config.number("rms_norm_eps", 1e-5)),
    blockNorms: postNorms(),
    ...options,
  });
  return {
    ...spec,
    block: { ...spec.block, norms: "post" },
    attention: { ...spec.attention, qkNorm: "full" },
    weights: { ...spec.weights, ...qkNorms() },
  };
}

/** The norms after attention and MLP. */
export function postNorms(): Weights {
  return {
    ...norm("ln1Post", `${BLOCK}.post_attention_layernorm`, { bias: false }),
    ...norm("ln2Post", `${BLOCK}.post_feedforward_layernorm`, { bias: false }),
  };
}
