/** Helium: Llama with interleaved RoPE. */
import { type Family, rmsNorm } from "./common.ts";
import { llamaLike } from "./llama-like.ts";

const DEFAULTS = {
  nLayers: 24,
  dModel: 2560,
  nHeads: 20,
  nKvHeads: 20,
  dHead: 128,
  dMlp: 7040,
  vocabSize: 48000,
  maxPositions: 4096,
};

export const helium: Family = (config) =>
  llamaLike(config, "helium", DEFAULTS, {
    norm: rmsNorm(config.number("rms_norm_eps", 1e-8)),
    outBias: false,
    mlpBias: config.boolean("mlp_bias", false),
    rope: { theta: 100000, style: "interleaved" },
  });
