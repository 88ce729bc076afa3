/** SmolLM3: Llama in which every fourth layer has no RoPE. */
import type { ConfigReader } from "../config.ts";
import type { LayerSpec, ModelSpec } from "../spec.ts";
import { readSizes, rmsNorm, typedLayers } from "./common.ts";
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

export function smollm3(config: ConfigReader): ModelSpec {
  const sizes = readSizes(config, DEFAULTS);
  return {
    ...llamaLike(config, {
      family: "smollm3",
      sizes,
      norm: rmsNorm(config.number("rms_norm_eps", 1e-6)),
      qkvBias: config.boolean("attention_bias", false),
      mlpBias: config.boolean("mlp_bias", false),
      theta: 2000000,
      tied: true,
    }),
    layers: smollm3Layers(config, sizes.nLayers),
  };
}

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
  const layers = typedLayers(config, types, {
    full_attention: { window: null, rope: 0 },
    sliding_attention: window === null ? null : { window, rope: 0 },
  });
  return layers.map((layer, i) => ({ ...layer, rope: flags[i] === 1 ? 0 : null }));
}
