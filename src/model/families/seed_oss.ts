/** Seed-OSS: Llama with biases on q, k and v, and optionally on the others, and a head width of its own. */
import type { Family } from "./common.ts";
import { llamaLike } from "./llama-like.ts";

const DEFAULTS = {
  nLayers: 64,
  dModel: 4096,
  nHeads: 80,
  nKvHeads: 8,
  dHead: 128,
  dMlp: 27648,
  vocabSize: 155136,
  maxPositions: 524288,
};

export const seedOss: Family = (config) =>
  llamaLike(config, "seed_oss", DEFAULTS, {
    qkvBias: config.boolean("attention_bias", true),
    outBias: config.boolean("attention_out_bias", false),
    mlpBias: config.boolean("mlp_bias", false),
  });
