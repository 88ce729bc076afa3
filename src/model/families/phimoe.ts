/** Phi 3.5 MoE: Mixtral with LayerNorms, biases, and experts chosen and weighed by SparseMixer. */
import { type Family, layerNorm, uniformLayers } from "./common.ts";
import { router, separateExperts, W132, withExperts } from "./experts.ts";
import { BLOCK, llamaLike } from "./llama-like.ts";

const DEFAULTS = {
  nLayers: 32,
  dModel: 4096,
  nHeads: 32,
  nKvHeads: 8,
  dMlp: 6400,
  vocabSize: 32064,
  maxPositions: 131072,
};

export const phimoe: Family = (config) => {
  const spec = llamaLike(config, "phimoe", DEFAULTS, {
    norm: layerNorm(config.number("rms_norm_eps", 1e-5)),
    normBias: true,
    // Its LongRoPE multiplies by a factor of its own.
    rope: { theta: 1e6, kinds: ["none"] },
  });
  const window = config.nullableInteger("sliding_window", null);
  const experts = {
    count: config.integer("num_local_experts", 16),
    perToken: config.integer("num_experts_per_tok", 2),
    dExpert: spec.dMlp,
    routing: { scores: "sparsemixer", tolerance: config.number("router_jitter_noise", 0.01), scale: 1 } as const,
  };
  const module = `${BLOCK}.block_sparse_moe`;
  return withExperts({ ...spec, layers: uniformLayers(spec, { window, rope: 0 }) }, experts, {
    ...router(`${module}.gate`),
    ...separateExperts(`${module}.experts`, W132),
    ...(config.boolean("lm_head_bias", false) && { "unembed.b_U": { tensor: "lm_head.bias" } }),
  });
};
