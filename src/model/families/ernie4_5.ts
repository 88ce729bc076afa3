/** ERNIE 4.5 where it is dense: Llama with interleaved RoPE, and biases everywhere or nowhere. */
import { type Family, rmsNorm } from "./common.ts";
import { llamaLike } from "./llama-like.ts";

const DEFAULTS = {
  nLayers: 18,
  dModel: 1024,
  nHeads: 16,
  nKvHeads: 2,
  dHead: 128,
  dMlp: 3072,
  vocabSize: 103424,
  maxPositions: 131072,
};

export const ernie45: Family = (config) => {
  const bias = config.nullableBoolean("use_bias", false);
  return llamaLike(config, "ernie4_5", DEFAULTS, {
    norm: rmsNorm(config.number("rms_norm_eps", 1e-5)),
    qkvBias: bias,
    mlpBias: bias,
    rope: { theta: 500000, style: "interleaved" },
    tied: true,
  });
};
