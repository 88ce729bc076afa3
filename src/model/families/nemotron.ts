/** Nemotron and Minitron: LayerNorms whose weights are stored less one, a squared ReLU, RoPE on half of each head. */
import { type Family, layerNorm } from "./common.ts";
import { llamaLike, plainUpDown } from "./llama-like.ts";
import { PARTIAL_HEAD_KINDS } from "./rope-config.ts";

const DEFAULTS = { nLayers: 32, dModel: 6144, nHeads: 48, dMlp: 24576, vocabSize: 256000, maxPositions: 4096 };

export const nemotron: Family = (config) =>
  llamaLike(config, "nemotron", DEFAULTS, {
    norm: { ...layerNorm(config.number("norm_eps", 1e-5)), weightOffset: 1 },
    normBias: true,
    plainMlp: plainUpDown(config.boolean("mlp_bias", false)),
    activation: config.activation("hidden_act", "relu2"),
    rope: { partial: 0.5, kinds: PARTIAL_HEAD_KINDS },
  });
