/** Llama 1 to 3: the plain form of the layout. */
import type { Family } from "./common.ts";
import { llamaLike } from "./llama-like.ts";

const DEFAULTS = { nLayers: 32, dModel: 4096, nHeads: 32, dMlp: 11008, vocabSize: 32000, maxPositions: 2048 };

export const llama: Family = (config) =>
  llamaLike(config, "llama", DEFAULTS, { mlpBias: config.boolean("mlp_bias", false) });
