/** Hunyuan with experts in place of every MLP, and an MLP beside them: as hunyuan_v1_dense, eight experts of sixteen. */
import type { Family } from "./common.ts";
import { PROJ, router, separateExperts, sharedMlp, softmaxRouting, withExperts } from "./experts.ts";
import { hunyuanV1Dense } from "./hunyuan_v1_dense.ts";
import { BLOCK } from "./llama-like.ts";

export const hunyuanV1Moe: Family = (config) => {
  const spec = { ...hunyuanV1Dense(config), family: "hunyuan_v1_moe" };
  const experts = {
    count: config.integer("num_experts", 1),
    perToken: config.integer("moe_topk", 1),
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
