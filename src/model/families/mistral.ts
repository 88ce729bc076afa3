/** Mistral: Llama with an attention window in every layer, in none, or where `layer_types` says. */
import { type Family, windowedLayers } from "./common.ts";
import { llamaLike } from "./llama-like.ts";

export const MISTRAL_DEFAULTS = {
  nLayers: 32,
  dModel: 4096,
  nHeads: 32,
  nKvHeads: 8,
  dMlp: 14336,
  vocabSize: 32000,
  maxPositions: 131072,
};

export const mistral: Family = (config) => {
  const spec = llamaLike(config, "mistral", MISTRAL_DEFAULTS, { qkvBias: false });
  const window = config.nullableInteger("sliding_window", 4096);
  const types = spec.layers.map(() => (window === null ? "full_attention" : "sliding_attention"));
  return { ...spec, layers: windowedLayers(config, types, window) };
};
