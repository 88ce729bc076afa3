/** Phi 3 and 4: Llama with q, k, v in one tensor and the MLP's gate and up projections in another. */
import { type Family, packedQkv, rmsNorm, uniformLayers } from "./common.ts";
import { BLOCK, fusedGateUp, llamaLike } from "./llama-like.ts";

const DEFAULTS = { nLayers: 32, dModel: 3072, nHeads: 32, dMlp: 8192, vocabSize: 32064, maxPositions: 4096 };

export const phi3: Family = (config) => {
  const spec = llamaLike(config, "phi3", DEFAULTS, {
    norm: rmsNorm(config.number("rms_norm_eps", 1e-5)),
    qkvBias: false,
    // The first configs call LongRoPE by other names; transformers knows no other scaling here.
    rope: {
      partial: 1,
      kinds: ["none", "longrope"],
      aliases: { su: "longrope", yarn: "longrope" },
      originalMaxPositions: 4096,
    },
  });
  const { nHeads, nKvHeads, dHead, dMlp } = spec;
  const qkv = { groups: 1, q: nHeads * dHead, k: nKvHeads * dHead, v: nKvHeads * dHead };
  return {
    ...spec,
    layers: uniformLayers(spec, { window: config.nullableInteger("sliding_window", null), rope: 0 }),
    weights: {
      ...spec.weights,
      ...packedQkv(`${BLOCK}.self_attn.qkv_proj`, qkv, { bias: false }),
      ...fusedGateUp(`${BLOCK}.mlp.gate_up_proj`, dMlp),
    },
  };
};
