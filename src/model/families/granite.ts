/** Granite: Llama with a multiplier on the embedding, the scores, every addition to the residual, and the logits. */
import type { Family } from "./common.ts";
import { llamaLike } from "./llama-like.ts";

const DEFAULTS = { nLayers: 32, dModel: 4096, nHeads: 32, dMlp: 11008, vocabSize: 32000, maxPositions: 2048 };

export const granite: Family = (config) => {
  const spec = llamaLike(config, "granite", DEFAULTS, { mlpBias: config.boolean("mlp_bias", false) });
  return {
    ...spec,
    embed: { ...spec.embed, scale: config.number("embedding_multiplier", 1) },
    block: { ...spec.block, residualScale: config.number("residual_multiplier", 1) },
    attention: { ...spec.attention, scale: config.number("attention_multiplier", 1) },
    unembed: { ...spec.unembed, scale: 1 / config.number("logits_scaling", 1) },
  };
};
