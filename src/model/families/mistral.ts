/** Mistral: Llama with the same attention window in every layer, or none. */
import type { ConfigReader } from "../config.ts";
import type { ModelSpec } from "../spec.ts";
import { readSizes, rmsNorm, uniformLayers } from "./common.ts";
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
  return {
    ...llamaLike(config, {
      family: "mistral",
      sizes,
      norm: rmsNorm(config.number("rms_norm_eps", 1e-6)),
      qkvBias: false,
      tied: false,
    }),
    // transformers gives every layer the window, whatever `layer_types` says.
    layers: uniformLayers(sizes, { window, rope: 0 }),
  };
}
