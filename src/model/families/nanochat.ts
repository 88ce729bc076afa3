/**
 * nanochat: RMSNorms without weights everywhere, also after the embedding and of each head's q and k after RoPE, which turns the
 * other way; a plain MLP of squared ReLUs, and logits under a soft cap.
 */
import { type Family, linear } from "./common.ts";
import { BLOCK, llamaLike } from "./llama-like.ts";

const DEFAULTS = {
  nLayers: 20,
  dModel: 1280,
  nHeads: 10,
  nKvHeads: 10,
  dMlp: 5120,
  vocabSize: 50304,
  maxPositions: 2048,
};

export const nanochat: Family = (config) => {
  const norm = { kind: "rms", eps: config.number("rms_norm_eps", 1e-6), weightOffset: 0, affine: false } as const;
  const spec = llamaLike(config, "nanochat", DEFAULTS, {
    norm,
    blockNorms: {},
    plainMlp: {
      ...linear("mlp.in", `${BLOCK}.mlp.fc1`, { bias: false }),
      ...linear("mlp.out", `${BLOCK}.mlp.fc2`, { bias: false }),
    },
    activation: config.activation("hidden_act", "relu2"),
  });
  const { "lnFinal.w": _, ...weights } = spec.weights;
  return {
    ...spec,
    embed: { ...spec.embed, norm: true },
    attention: { ...spec.attention, qkNorm: "head", qkNormAfterRope: true },
    ropes: spec.ropes.map((rope) => ({ ...rope, reversed: true })),
    unembed: { ...spec.unembed, softCap: config.nullableNumber("final_logit_softcapping", 15) },
    weights,
  };
};
