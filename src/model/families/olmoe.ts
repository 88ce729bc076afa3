/** OLMoE and FlexOlmo: OLMo 2 with experts in place of every MLP. OLMoE has its norms before attention and experts. */
import type { ConfigReader } from "../config.ts";
import type { ModelSpec } from "../spec.ts";
import { type Family, norm, rmsNorm } from "./common.ts";
import { PROJ, router, separateExperts, softmaxRouting, withExperts } from "./experts.ts";
import { BLOCK, llamaLike, qkNorms } from "./llama-like.ts";

const OLMOE = { nLayers: 16, dModel: 2048, nHeads: 16, dMlp: 2048, vocabSize: 50304, maxPositions: 4096 };
const FLEX_OLMO = { nLayers: 32, dModel: 4096, nHeads: 32, dMlp: 11008, vocabSize: 100352, maxPositions: 4096 };

export const olmoe: Family = (config) => {
  const spec = llamaLike(config, "olmoe", OLMOE, { norm: rmsNorm(config.number("rms_norm_eps", 1e-5)) });
  const clamp = config.nullableNumber("clip_qkv", null);
  if (clamp !== null)
    config.refuse("clip_qkv", "is not supported with norms of q and k, after which it cuts them (only null is)");
  return olmoExperts(config, spec, { count: 64, perToken: 8 });
};

export const flexOlmo: Family = (config) => {
  const spec = llamaLike(config, "flex_olmo", FLEX_OLMO, {
    rope: { theta: 500000 },
    blockNorms: {
      ...norm("ln1Post", `${BLOCK}.post_attention_layernorm`, { bias: false }),
      ...norm("ln2Post", `${BLOCK}.post_feedforward_layernorm`, { bias: false }),
    },
  });
  const post: ModelSpec = { ...spec, block: { ...spec.block, norms: "post" } };
  return olmoExperts(config, post, { count: 7, perToken: 5 });
};

function olmoExperts(config: ConfigReader, spec: ModelSpec, defaults: { count: number; perToken: number }): ModelSpec {
  const normed: ModelSpec = {
    ...spec,
    attention: { ...spec.attention, qkNorm: "full" },
    weights: { ...spec.weights, ...qkNorms() },
  };
  const experts = {
    count: config.integer(["num_experts", "num_local_experts"], defaults.count),
    perToken: config.integer("num_experts_per_tok", defaults.perToken),
    dExpert: spec.dMlp,
    routing: softmaxRouting(config.boolean("norm_topk_prob", false)),
  };
  return withExperts(normed, experts, { ...router(), ...separateExperts(`${BLOCK}.mlp.experts`, PROJ) });
}
