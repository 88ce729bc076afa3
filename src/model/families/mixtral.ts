/** Mixtral: Mistral with experts in place of every MLP, two for each token, whose weights sum to 1. */
import { type Family, rmsNorm, uniformLayers } from "./common.ts";
import { router, separateExperts, softmaxRouting, W132, withExperts } from "./experts.ts";
import { BLOCK, llamaLike } from "./llama-like.ts";

const DEFAULTS = {
  nLayers: 32,
  dModel: 4096,
  nHeads: 32,
  nKvHeads: 8,
  dMlp: 14336,
  vocabSize: 32000,
  maxPositions: 131072,
};

export const mixtral: Family = (config) => {
  const spec = llamaLike(config, "mixtral", DEFAULTS, {
    norm: rmsNorm(config.number("rms_norm_eps", 1e-5)),
    qkvBias: false,
    rope: { theta: 1e6 },
  });
  const window = config.nullableInteger("sliding_window", null);
  const experts = {
    count: config.integer("num_local_experts", 8),
    perToken: config.integer("num_experts_per_tok", 2),
    dExpert: spec.dMlp,
    routing: softmaxRouting(true),
  };
  const module = `${BLOCK}.block_sparse_moe`;
  return withExperts({ ...spec, layers: uniformLayers(spec, { window, rope: 0 }) }, experts, {
    ...router(`${module}.gate`),
    ...separateExperts(`${module}.experts`, W132),
  });
};
