/**
 * Gemma 3: Gemma 2 without soft caps on attention, with normed q and k, and with two RoPEs. One is for the layers with a
 * window (five of six), the other, possibly scaled, for the rest. A multimodal config holds the text model's config.
 */
import { type Family, windowedLayers, withCausality } from "./common.ts";
import { GEMMA2_DEFAULTS, sandwichGemma } from "./gemma2.ts";
import { qkNorms } from "./llama-like.ts";
import { typedRopes } from "./rope-config.ts";

const DEFAULTS = { ...GEMMA2_DEFAULTS, vocabSize: 262208, maxPositions: 131072 };

export const gemma3Text: Family = (config) => {
  const thetas = { full: config.number("rope_theta", 1e6), sliding: config.number("rope_local_base_freq", 1e4) };
  const spec = sandwichGemma(config, "gemma3_text", DEFAULTS, { ropes: (sizes) => typedRopes(config, sizes, thetas) });
  const bidirectional = config.nullableBoolean("use_bidirectional_attention", false);
  const stated = config.nullableInteger("sliding_window", 4096);
  // The window of a bidirectional model is counted from one end to the other.
  const window = stated !== null && bidirectional ? Math.floor(stated / 2) + 1 : stated;
  const pattern = config.integer("sliding_window_pattern", 6);
  const types = spec.layers.map((_, i) => ((i + 1) % pattern === 0 ? "full_attention" : "sliding_attention"));
  return {
    ...spec,
    attention: { ...spec.attention, qkNorm: "head", ...(bidirectional && { causal: false }) },
    layers: windowedLayers(config, types, window, 1),
    unembed: { ...spec.unembed, softCap: config.nullableNumber("final_logit_softcapping", null) },
    weights: { ...spec.weights, ...qkNorms() },
  };
};

/** The text model of a multimodal checkpoint. */
export const gemma3: Family = (config) => {
  const text = config.child("text_config");
  if (!text) return config.refuse("text_config", "is missing; a gemma3 config holds the text model there");
  const spec = withCausality(text, gemma3Text(text));
  config.requireFixed({ tie_word_embeddings: spec.unembed.tied });
  return { ...spec, family: "gemma3" };
};
