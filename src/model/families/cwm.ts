/** Code World Model: Llama with a window in three of four layers and Llama 3's scaled RoPE. */
import { type Family, rmsNorm, windowedLayers } from "./common.ts";
import { llamaLike } from "./llama-like.ts";

const DEFAULTS = {
  nLayers: 64,
  dModel: 6144,
  nHeads: 48,
  nKvHeads: 8,
  dHead: 128,
  dMlp: 21504,
  vocabSize: 128256,
  maxPositions: 131072,
};

/** What holds where the config has no RoPE settings at all. */
const ROPE = {
  rope_theta: 1e6,
  rope_type: "llama3",
  ...{ factor: 16, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 },
};

export const cwm: Family = (config) => {
  const isStated = config.has("rope_parameters") || config.has("rope_scaling");
  const spec = llamaLike(isStated ? config : config.set("rope_parameters", ROPE), "cwm", DEFAULTS, {
    norm: rmsNorm(config.number("rms_norm_eps", 1e-5)),
    qkvBias: false,
    mlpBias: config.boolean("mlp_bias", false),
    rope: { theta: 1e6 },
  });
  const types = spec.layers.map((_, i) => (i % 4 === 0 ? "full_attention" : "sliding_attention"));
  return { ...spec, layers: windowedLayers(config, types, config.nullableInteger("sliding_window", 8192)) };
};
