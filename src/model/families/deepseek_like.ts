/** Families that route as DeepSeek V3 does, with attention of their own: dots.llm1 and GLM-4 MoE. */
import type { ConfigReader } from "../config.ts";
import type { ExpertsSpec, ModelSpec } from "../spec.ts";
import { type Family, rmsNorm, windowedLayers } from "./common.ts";
import { type DeepseekDefaults, deepseekExperts, deepseekRouting, withExperts } from "./experts.ts";
import { llamaLike, qkNorms } from "./llama-like.ts";

const DOTS1 = {
  nLayers: 62,
  dModel: 4608,
  nHeads: 32,
  nKvHeads: 32,
  dMlp: 10944,
  vocabSize: 152064,
  maxPositions: 2048,
};

const GLM4_MOE = {
  nLayers: 46,
  dModel: 4096,
  nHeads: 96,
  nKvHeads: 8,
  dMlp: 10944,
  vocabSize: 151552,
  maxPositions: 131072,
};

export const dots1: Family = (config) => {
  const spec = llamaLike(config, "dots1", DOTS1);
  const window = config.nullableInteger("sliding_window", 4096);
  const from = config.number("max_window_layers", 62);
  const types = spec.layers.map((_, layer) =>
    window !== null && layer >= from ? "sliding_attention" : "full_attention",
  );
  const windowed = { ...spec, layers: windowedLayers(config, types, window) };
  const routing = { groups: 1, groupsChosen: 1, normalize: false, scale: 1 };
  return withDeepseekExperts(config, withQkNorm(windowed), { routing, firstSparse: 0, dExpert: 1408 });
};

export const glm4Moe: Family = (config) => {
  const spec = llamaLike(config, "glm4_moe", GLM4_MOE, {
    norm: rmsNorm(config.number("rms_norm_eps", 1e-5)),
    outBias: false,
    rope: { partial: 0.5 },
  });
  const normed = config.boolean("use_qk_norm", false) ? withQkNorm(spec) : spec;
  const routing = { groups: 1, groupsChosen: 1, normalize: true, scale: 1 };
  const defaults = { routing, firstSparse: 1, dExpert: 1408, count: 128, perToken: 8, shared: 1 };
  return withDeepseekExperts(config, normed, defaults);
};

function withQkNorm(spec: ModelSpec): ModelSpec {
  return {
    ...spec,
    attention: { ...spec.attention, qkNorm: "head" },
    weights: { ...spec.weights, ...qkNorms() },
  };
}

interface ExpertsDefaults {
  routing: DeepseekDefaults;
  /** Layers before it have one MLP. */
  firstSparse: number;
  dExpert: number;
  count?: number;
  perToken?: number;
  shared?: number;
}

/** The experts of DeepSeek V3, by its names. */
export function withDeepseekExperts(config: ConfigReader, spec: ModelSpec, defaults: ExpertsDefaults): ModelSpec {
  const dExpert = config.integer("moe_intermediate_size", defaults.dExpert);
  const shared = config.integer("n_shared_experts", defaults.shared);
  const first = config.number("first_k_dense_replace", defaults.firstSparse);
  const experts: ExpertsSpec = {
    count: config.integer(["n_routed_experts", "num_local_experts"], defaults.count),
    perToken: config.integer("num_experts_per_tok", defaults.perToken),
    dExpert,
    routing: deepseekRouting(config, defaults.routing),
    shared: { dMlp: shared * dExpert, gate: false },
  };
  return withExperts(spec, experts, deepseekExperts(), (layer) => layer < first);
}
