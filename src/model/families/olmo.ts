/** OLMo (July 2024 and before): Llama with LayerNorms that have no weights, and optionally q, k and v kept within a limit. */
import type { Family } from "./common.ts";
import { llamaLike } from "./llama-like.ts";

const DEFAULTS = { nLayers: 32, dModel: 4096, nHeads: 32, dMlp: 11008, vocabSize: 50304, maxPositions: 2048 };

export const olmo: Family = (config) => {
  const spec = llamaLike(config, "olmo", DEFAULTS, {
    norm: { kind: "layer", eps: 1e-5, weightOffset: 0, affine: false },
    blockNorms: {},
  });
  const clamp = config.nullableNumber("clip_qkv", null);
  const { "lnFinal.w": _, ...weights } = spec.weights;
  return { ...spec, attention: { ...spec.attention, ...(clamp !== null && { clamp }) }, weights };
};
