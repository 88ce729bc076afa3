/** SmolLM3: Llama in which every fourth layer has no RoPE. */
import type { ConfigReader } from "../config.ts";
import type { LayerSpec } from "../spec.ts";
import { type Family, windowedLayers } from "./common.ts";
import { llamaLike } from "./llama-like.ts";

const DEFAULTS = {
  nLayers: 36,
  dModel: 2048,
  nHeads: 16,
  nKvHeads: 4,
  dMlp: 11008,
  vocabSize: 128256,
  maxPositions: 32768,
};

export const smollm3: Family = (config) => {
  const mlpBias = config.boolean("mlp_bias", false);
  const spec = llamaLike(config, "smollm3", DEFAULTS, { mlpBias, rope: { theta: 2000000 }, tied: true });
  return { ...spec, layers: smollm3Layers(config, spec.nLayers) };
};

/** `no_rope_layers` holds 1 for a layer with RoPE, 0 for one without; a window goes to the layers without. */
function smollm3Layers(config: ConfigReader, nLayers: number): LayerSpec[] {
  const interval = config.integer("no_rope_layer_interval", 4);
  const every = Array.from({ length: nLayers }, (_, i) => ((i + 1) % interval === 0 ? 0 : 1));
  const flags = config.list("no_rope_layers", every);
  if (flags.length < nLayers || flags.some((flag) => flag !== 0 && flag !== 1)) {
    config.refuse("no_rope_layers", `must be a list of 0 or 1 for each of ${nLayers} layers`);
  }
  const window = config.boolean("use_sliding_window", false) ? config.nullableInteger("sliding_window", null) : null;
  const types = every.map((_, i) => (window !== null && flags[i] === 0 ? "sliding_attention" : "full_attention"));
  return windowedLayers(config, types, window).map((layer, i) => ({ ...layer, rope: flags[i] === 1 ? 0 : null }));
}
