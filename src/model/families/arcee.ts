/** Arcee (AFM 4.5B): Llama with a plain MLP of squared ReLUs. */
import { type Family, rmsNorm } from "./common.ts";
import { llamaLike, plainUpDown } from "./llama-like.ts";

const DEFAULTS = { nLayers: 32, dModel: 2560, nHeads: 32, dMlp: 18432, vocabSize: 32000, maxPositions: 4096 };

export const arcee: Family = (config) =>
  llamaLike(config, "arcee", DEFAULTS, {
    norm: rmsNorm(config.number("rms_norm_eps", 1e-5)),
    plainMlp: plainUpDown(config.boolean("mlp_bias", false)),
    activation: config.activation("hidden_act", "relu2"),
  });
