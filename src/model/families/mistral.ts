/** Mistral: Llama with an attention window in every layer, in none, or where `layer_types` says. */
import type { ConfigReader } from "../config.ts";
import type { ModelSpec } from "../spec.ts";
import { readSizes, rmsNorm, typedLayers } from "./common.ts";
import { llamaLike } from "./llama-like.ts";

const DEFAULTS = {
  nLayers: 32,
  dModel: 4096,
  nHeads: 32,
  nKvHeads: 8,
  dMlp: 14336,
  vocabSize: 32000,
  maxPositions: 131072,
};

export function mistral(config: ConfigReader): ModelSpec {
  const sizes = readSizes(config, DEFAULTS);
  const window = config.nullableInteger("sliding_window", 4096);
  const types = new Array<string>(sizes.nLayers).fill(window === null ? "full_attention" : "sliding_attention");
  return {
    ...llamaLike(config, {
      family: "mistral",
      sizes,
      norm: rmsNorm(config.number("rms_norm_eps", 1e-6)),
      qkvBias: false,
      tied: false,
    }),
    layers: typedLayers(config, types, {
      full_attention: { window: null, rope: 0 },
      sliding_attention: window === null ? null : { window, rope: 0 },
    }),
  };
}
