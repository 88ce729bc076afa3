/** Ministral (8B Instruct 2410): Mistral whose layers may each have the window or not. */
import { type Family, windowedLayers } from "./common.ts";
import { llamaLike } from "./llama-like.ts";
import { MISTRAL_DEFAULTS } from "./mistral.ts";

export const ministral: Family = (config) => {
  const spec = llamaLike(config, "ministral", MISTRAL_DEFAULTS, { qkvBias: false });
  const window = config.nullableInteger("sliding_window", 4096);
  const types = spec.layers.map(() => (window === null ? "full_attention" : "sliding_attention"));
  return { ...spec, layers: windowedLayers(config, types, window) };
};
