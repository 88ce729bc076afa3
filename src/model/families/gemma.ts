/** Gemma: Llama with a scaled embedding, RMSNorm weights stored less one, tanh-GELU and a tied head. */
import { type Family, rmsNorm } from "./common.ts";
import { llamaLike } from "./llama-like.ts";

const DEFAULTS = {
  nLayers: 28,
  dModel: 3072,
  nHeads: 16,
  nKvHeads: 16,
  dHead: 256,
  dMlp: 24576,
  vocabSize: 256000,
  maxPositions: 8192,
};

export const gemma: Family = (config) => {
  // The first releases say "gelu" and mean its tanh approximation, as transformers 4 took it.
  const stated = config.activation("hidden_act", "gelu_pytorch_tanh");
  const spec = llamaLike(config, "gemma", DEFAULTS, {
    norm: rmsNorm(config.number("rms_norm_eps", 1e-6), 1),
    activation: stated === "gelu" ? "gelu_tanh" : stated,
    tied: true,
  });
  return { ...spec, embed: { ...spec.embed, scale: Math.sqrt(spec.dModel) } };
};
