/** Cohere Command R7B and A: Cohere with a window and RoPE in three of four layers, and neither in the fourth. */
import { cohereLike } from "./cohere.ts";
import { type Family, windowedLayers } from "./common.ts";

export const cohere2: Family = (config) => {
  // The width of a head always follows from the others.
  const spec = cohereLike(config, "cohere2");
  const pattern = config.integer("sliding_window_pattern", 4);
  const types = spec.layers.map((_, i) => ((i + 1) % pattern === 0 ? "full_attention" : "sliding_attention"));
  const layers = windowedLayers(config, types, config.nullableInteger("sliding_window", 4096));
  return { ...spec, layers: layers.map((layer) => (layer.window === null ? { ...layer, rope: null } : layer)) };
};
