/** Ernie 4.5 with experts in a range of layers: chosen by softmax and a bias, weighed by the softmax. */
import type { ExpertsSpec, TensorSource, WeightName } from "../spec.ts";
import { type Family, head, rmsNorm } from "./common.ts";
import { PROJ, router, separateExperts, sharedMlp, withExperts } from "./experts.ts";
import { BLOCK, llamaLike } from "./llama-like.ts";

const DEFAULTS = {
  nLayers: 28,
  dModel: 2560,
  nHeads: 20,
  nKvHeads: 4,
  dMlp: 12288,
  vocabSize: 103424,
  maxPositions: 131072,
};

export const ernie45Moe: Family = (config) => {
  const bias = config.boolean("use_bias", false);
  const spec = llamaLike(config, "ernie4_5_moe", DEFAULTS, {
    norm: rmsNorm(config.number("rms_norm_eps", 1e-5)),
    qkvBias: bias,
    mlpBias: bias,
    tied: true,
    rope: { theta: 500000, style: "interleaved" },
  });
  const dExpert = config.integer("moe_intermediate_size", 1536);
  const shared = config.number("moe_num_shared_experts", 2);
  const experts: ExpertsSpec = {
    count: config.integer(["moe_num_experts", "num_experts"], 64),
    perToken: config.integer(["moe_k", "num_experts_per_tok"], 6),
    dExpert,
    routing: {
      scores: "softmax",
      choiceBias: true,
      normalize: { plus: 0, atLeast: config.number("moe_norm_min", 1e-12) },
      scale: 1,
    },
    ...(shared > 0 && { shared: { dMlp: shared * dExpert, gate: false } }),
  };
  const [start, end, interval] = [
    config.number("moe_layer_start_index", 1),
    config.number("moe_layer_end_index", -1),
    config.integer("moe_layer_interval", 1),
  ];
  const last = end === -1 ? spec.nLayers - 1 : end;
  const isDense = (layer: number) => layer < start || layer > last || (layer + 1) % interval !== 0;
  const weights = {
    ...router(),
    "mlp.b_choice": { tensor: `${BLOCK}.mlp.moe_statics.e_score_correction_bias` },
    ...separateExperts(`${BLOCK}.mlp.experts`, PROJ),
    ...(bias && expertBiases()),
    ...(shared > 0 && sharedMlp(`${BLOCK}.mlp.shared_experts`, bias)),
    ...(bias && { "unembed.b_U": { tensor: "lm_head.bias" } }),
    ...head(spec.unembed.tied),
  };
  return withExperts(spec, experts, weights, isDense);
};

function expertBiases(): Partial<Record<WeightName, TensorSource>> {
  const module = `${BLOCK}.mlp.experts.{e}`;
  return {
    "mlp.experts.b_gate": { tensor: `${module}.gate_proj.bias` },
    "mlp.experts.b_in": { tensor: `${module}.up_proj.bias` },
    "mlp.experts.b_out": { tensor: `${module}.down_proj.bias` },
  };
}
