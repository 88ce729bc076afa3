/** Ministral 3: Mistral whose queries grow with their position, where RoPE is stretched by YaRN. */
import { type Family, rmsNorm, uniformLayers } from "./common.ts";
import { llamaLike } from "./llama-like.ts";

const DEFAULTS = {
  nLayers: 34,
  dModel: 4096,
  nHeads: 32,
  nKvHeads: 8,
  dHead: 128,
  dMlp: 14336,
  vocabSize: 131072,
  maxPositions: 262144,
};

/** What holds where the config has no RoPE settings at all. */
const ROPE = {
  ...{ rope_type: "yarn", rope_theta: 1e6, factor: 16, original_max_position_embeddings: 16384 },
  ...{ beta_fast: 32, beta_slow: 1, mscale: 1, mscale_all_dim: 1, llama_4_scaling_beta: 0.1 },
};

export const ministral3: Family = (stated) => {
  const config =
    stated.has("rope_parameters") || stated.has("rope_scaling") ? stated : stated.set("rope_parameters", ROPE);
  const spec = llamaLike(config, "ministral3", DEFAULTS, {
    norm: rmsNorm(config.number("rms_norm_eps", 1e-5)),
    qkvBias: false,
    rope: { theta: 1e6 },
  });
  const settings = config.child("rope_scaling") ?? config.child("rope_parameters") ?? config.empty("rope_parameters");
  const queryScale = {
    factor: settings.number("llama_4_scaling_beta"),
    span: settings.integer("original_max_position_embeddings"),
    shift: 0,
  };
  const window = config.nullableInteger("sliding_window", null);
  return { ...spec, layers: uniformLayers(spec, { window, rope: 0, queryScale }) };
};
