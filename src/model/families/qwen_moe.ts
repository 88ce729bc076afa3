/** Qwen 2 and 3 with experts: as Qwen 2 and 3, some or all of the MLPs mixtures. Qwen 2 has a gated MLP beside them. */
import type { ConfigReader } from "../config.ts";
import type { ExpertsSpec, ModelSpec } from "../spec.ts";
import { type Family, uniformLayers } from "./common.ts";
import { PROJ, router, separateExperts, sharedMlp, softmaxRouting, withExperts } from "./experts.ts";
import { BLOCK, llamaLike, qkNorms } from "./llama-like.ts";

const QWEN2_MOE = {
  nLayers: 24,
  dModel: 2048,
  nHeads: 16,
  nKvHeads: 16,
  dMlp: 5632,
  vocabSize: 151936,
  maxPositions: 32768,
};

const QWEN3_MOE = { ...QWEN2_MOE, nHeads: 32, nKvHeads: 4, dMlp: 6144 };

export const qwen2Moe: Family = (config) => {
  config.requireFixed({ use_sliding_window: false });
  const spec = llamaLike(config, "qwen2_moe", QWEN2_MOE, {
    qkvBias: config.boolean("qkv_bias", true),
    outBias: false,
  });
  const types = config.list("layer_types", []);
  if (types.some((type) => type !== "full_attention"))
    config.refuse("layer_types", "has an unsupported entry (supported: full_attention)");
  const shared = { dMlp: config.integer("shared_expert_intermediate_size", 5632), gate: true };
  const experts = { ...qwenExperts(config, { count: 60, perToken: 4, dExpert: 1408 }), shared };
  const weights = {
    ...expertWeights(),
    ...sharedMlp(`${BLOCK}.mlp.shared_expert`),
    "mlp.shared.W_weight": { tensor: `${BLOCK}.mlp.shared_expert_gate.weight` },
  };
  return withExperts(spec, experts, weights, denseLayers(config));
};

export const qwen3Moe: Family = (config) => {
  const spec = llamaLike(config, "qwen3_moe", QWEN3_MOE);
  const isWindowed = config.boolean("use_sliding_window", false);
  const window = isWindowed ? config.nullableInteger("sliding_window", 4096) : null;
  const qwen3: ModelSpec = {
    ...spec,
    attention: { ...spec.attention, qkNorm: "head" },
    layers: uniformLayers(spec, { window, rope: 0 }),
    weights: { ...spec.weights, ...qkNorms() },
  };
  const experts = qwenExperts(config, { count: 128, perToken: 8, dExpert: 768 });
  return withExperts(qwen3, experts, expertWeights(), denseLayers(config));
};

function qwenExperts(config: ConfigReader, defaults: Pick<ExpertsSpec, "count" | "perToken" | "dExpert">): ExpertsSpec {
  return {
    count: config.integer(["num_experts", "num_local_experts"], defaults.count),
    perToken: config.integer("num_experts_per_tok", defaults.perToken),
    dExpert: config.integer("moe_intermediate_size", defaults.dExpert),
    routing: softmaxRouting(config.boolean("norm_topk_prob", false)),
  };
}

const expertWeights = () => ({ ...router(), ...separateExperts(`${BLOCK}.mlp.experts`, PROJ) });

/** Every `decoder_sparse_step`-th layer has experts, but for those of `mlp_only_layers`. */
function denseLayers(config: ConfigReader): (layer: number) => boolean {
  const step = config.integer("decoder_sparse_step", 1);
  const dense = new Set(config.list("mlp_only_layers", []));
  return (layer) => dense.has(layer) || (layer + 1) % step !== 0;
}
