/** Jais 2: Llama with LayerNorms, a plain MLP of squared ReLUs, and biases everywhere. */
import { type Family, layerNorm } from "./common.ts";
import { llamaLike, plainUpDown } from "./llama-like.ts";

const DEFAULTS = { nLayers: 32, dModel: 3328, nHeads: 26, dMlp: 26624, vocabSize: 150272, maxPositions: 8192 };

export const jais2: Family = (config) =>
  llamaLike(config, "jais2", DEFAULTS, {
    norm: layerNorm(config.number("layer_norm_eps", 1e-5)),
    normBias: true,
    qkvBias: config.boolean("attention_bias", true),
    plainMlp: plainUpDown(config.boolean("mlp_bias", true)),
    activation: config.activation("hidden_act", "relu2"),
    rope: { theta: 500000 },
  });
