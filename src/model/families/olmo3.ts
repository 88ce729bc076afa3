/** OLMo 3: OLMo 2 with a window in three of four layers, and a RoPE for each kind of layer; only that without a window is scaled. */
import { type Family, windowedLayers } from "./common.ts";
import { olmo2Like } from "./olmo2.ts";
import { typedRopes } from "./rope-config.ts";

export const olmo3: Family = (config) => {
  // transformers reads rope_theta for the layers without a window alone.
  const thetas = { full: config.number("rope_theta", 500000), sliding: 500000 };
  const spec = olmo2Like(config, "olmo3", { ropes: (sizes) => typedRopes(config, sizes, thetas) });
  const types = spec.layers.map((_, i) => ((i + 1) % 4 === 0 ? "full_attention" : "sliding_attention"));
  return { ...spec, layers: windowedLayers(config, types, config.nullableInteger("sliding_window", 4096), 1) };
};
