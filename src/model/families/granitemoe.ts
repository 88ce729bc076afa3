/** Granite with experts, all of a layer in one tensor, and perhaps an MLP beside them. */
import type { ConfigReader } from "../config.ts";
import type { ModelSpec } from "../spec.ts";
import type { Family } from "./common.ts";
import { gateThenUp, router, softmaxRouting, withExperts } from "./experts.ts";
import { graniteLike } from "./granite.ts";
import { BLOCK } from "./llama-like.ts";

const DEFAULTS = { nLayers: 32, dModel: 4096, nHeads: 32, dMlp: 11008, vocabSize: 32000, maxPositions: 2048 };

export const graniteMoe: Family = (config) => graniteExperts(config, "granitemoe", 0);

export const graniteMoeShared: Family = (config) =>
  graniteExperts(config, "granitemoeshared", config.nullableNumber("shared_intermediate_size", 0) ?? 0);

function graniteExperts(config: ConfigReader, family: string, dShared: number): ModelSpec {
  const spec = graniteLike(config, family, DEFAULTS, { eps: 1e-6, tied: false });
  const dExpert = spec.dMlp;
  const module = `${BLOCK}.block_sparse_moe`;
  const own = gateThenUp(`${module}.input_linear.weight`, dExpert);
  const beside = gateThenUp(`${BLOCK}.shared_mlp.input_linear.weight`, dShared);
  const experts = {
    count: config.integer("num_local_experts", 8),
    perToken: config.integer("num_experts_per_tok", 2),
    dExpert,
    routing: softmaxRouting(true),
    ...(dShared > 0 && { shared: { dMlp: dShared, gate: false } }),
  };
  return withExperts(spec, experts, {
    ...router(`${module}.router.layer`),
    "mlp.experts.W_gate": own.gate,
    "mlp.experts.W_in": own.up,
    "mlp.experts.W_out": { tensor: `${module}.output_linear.weight` },
    ...(dShared > 0 && {
      "mlp.shared.W_gate": beside.gate,
      "mlp.shared.W_in": beside.up,
      "mlp.shared.W_out": { tensor: `${BLOCK}.shared_mlp.output_linear.weight` },
    }),
  });
}
