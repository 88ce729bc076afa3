/** Llama 1 to 3: the plain form of the layout. */
import type { ConfigReader } from "../config.ts";
import type { ModelSpec } from "../spec.ts";
import { readSizes, rmsNorm } from "./common.ts";
import { llamaLike } from "./llama-like.ts";

const DEFAULTS = { nLayers: 32, dModel: 4096, nHeads: 32, dMlp: 11008, vocabSize: 32000, maxPositions: 2048 };

export function llama(config: ConfigReader): ModelSpec {
  return llamaLike(config, {
    family: "llama",
    sizes: readSizes(config, DEFAULTS),
    norm: rmsNorm(config.number("rms_norm_eps", 1e-6)),
    qkvBias: config.boolean("attention_bias", false),
    mlpBias: config.boolean("mlp_bias", false),
    tied: false,
  });
}
