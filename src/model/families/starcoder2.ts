/** StarCoder 2: Llama's attention with LayerNorm, biases and a plain GELU MLP; one window for all layers, or none. */
import { type Family, layerNorm, linear, uniformLayers } from "./common.ts";
import { BLOCK, llamaLike } from "./llama-like.ts";

const DEFAULTS = {
  nLayers: 30,
  dModel: 3072,
  nHeads: 24,
  nKvHeads: 2,
  dMlp: 12288,
  vocabSize: 49152,
  maxPositions: 4096,
};

export const starcoder2: Family = (config) => {
  const bias = config.boolean("use_bias", true);
  const spec = llamaLike(config, "starcoder2", DEFAULTS, {
    norm: layerNorm(config.number("norm_epsilon", 1e-5)),
    normBias: true,
    qkvBias: bias,
    plainMlp: {
      ...linear("mlp.in", `${BLOCK}.mlp.c_fc`, { bias }),
      ...linear("mlp.out", `${BLOCK}.mlp.c_proj`, { bias }),
    },
    activation: config.activation("hidden_act", "gelu_pytorch_tanh"),
    tied: true,
  });
  return { ...spec, layers: uniformLayers(spec, { window: config.nullableInteger("sliding_window", null), rope: 0 }) };
};
