/** Hunyuan with experts in place of every MLP, and an MLP beside them: as hunyuan_v1_dense, eight experts of sixteen. */
import type { ConfigReader } from "../config.ts";
import type { Family } from "./common.ts";
import { PROJ, router, separateExperts, sharedMlp, softmaxRouting, withExperts } from "./experts.ts";
import { hunyuanV1Dense } from "./hunyuan_v1_dense.ts";
import { BLOCK } from "./llama-like.ts";

/** A setting that may be a list of a number for each layer, which are equal in the models that people have. */
function sameInEveryLayer(config: ConfigReader, key: string): ConfigReader {
  const value = config.value(key);
  if (!Array.isArray(value)) return config;
  if (new Set(value).size === 1) return config.set(key, value[0]);
  return config.refuse(key, "differs from layer to layer, which is not supported");
}

export const hunyuanV1Moe: Family = (config) => {
  const spec = { ...hunyuanV1Dense(config), family: "hunyuan_v1_moe" };
  const experts = {
    count: sameInEveryLayer(config, "num_experts").integer("num_experts", 1),
    perToken: sameInEveryLayer(config, "moe_topk").integer("moe_topk", 1),
    dExpert: spec.dMlp,
    routing: softmaxRouting(true),
    shared: { dMlp: spec.dMlp, gate: false },
  };
  return withExperts(spec, experts, {
    ...router(`${BLOCK}.mlp.gate.wg`),
    ...separateExperts(`${BLOCK}.mlp.experts`, PROJ),
    ...sharedMlp(`${BLOCK}.mlp.shared_mlp`),
  });
};
