/** MiniMax M2: Mixtral with sigmoid routing, a bias where experts are chosen, and q and k normed over all heads together. */
import { type Family, rmsNorm } from "./common.ts";
import { BY_SUM, router, separateExperts, W132, withExperts } from "./experts.ts";
import { BLOCK, llamaLike, qkNorms } from "./llama-like.ts";

const DEFAULTS = {
  nLayers: 62,
  dModel: 3072,
  nHeads: 48,
  nKvHeads: 8,
  dHead: 128,
  dMlp: 1536,
  vocabSize: 200064,
  maxPositions: 196608,
};

export const minimaxM2: Family = (config) => {
  const dHead = config.nullableInteger("head_dim", DEFAULTS.dHead) ?? DEFAULTS.dHead;
  const rotary = config.nullableInteger("rotary_dim", null) ?? dHead;
  const spec = llamaLike(config, "minimax_m2", DEFAULTS, {
    norm: rmsNorm(config.number("rms_norm_eps", 1e-6)),
    qkvBias: false,
    rope: { theta: 5e6, partial: rotary / dHead },
  });
  const experts = {
    count: config.integer(["num_local_experts", "num_experts"], 256),
    perToken: config.integer("num_experts_per_tok", 8),
    dExpert: spec.dMlp,
    routing: { scores: "sigmoid", choiceBias: true, normalize: BY_SUM, scale: 1 } as const,
  };
  const module = `${BLOCK}.block_sparse_moe`;
  const normed = {
    ...spec,
    attention: { ...spec.attention, qkNorm: "full" as const },
    weights: { ...spec.weights, ...qkNorms() },
  };
  return withExperts(normed, experts, {
    ...router(`${module}.gate`),
    "mlp.b_choice": { tensor: `${module}.e_score_correction_bias` },
    ...separateExperts(`${module}.experts`, W132),
  });
};
