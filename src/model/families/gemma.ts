/** Gemma: Llama with a scaled embedding, RMSNorm weights stored less one, tanh-GELU and a tied head. */
import type { ConfigReader } from "../config.ts";
import type { ModelSpec } from "../spec.ts";
import { readSizes, rmsNorm } from "./common.ts";
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

export function gemma(config: ConfigReader): ModelSpec {
  // The first releases say "gelu" and mean its tanh approximation, as transformers 4 took it.
  const stated = config.activation("hidden_act", "gelu_pytorch_tanh");
  const spec = llamaLike(config, {
    family: "gemma",
    sizes: readSizes(config, DEFAULTS),
    norm: rmsNorm(config.number("rms_norm_eps", 1e-6), 1),
    qkvBias: config.boolean("attention_bias", false),
    tied: true,
    activation: stated === "gelu" ? "gelu_tanh" : stated,
  });
  return { ...spec, embed: { ...spec.embed, scale: Math.sqrt(spec.dModel) } };
}
