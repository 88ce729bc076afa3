/** Qwen 3: Llama with a norm on each head's q and k, and a head width of its own. */
import type { ConfigReader } from "../config.ts";
import type { ModelSpec } from "../spec.ts";
import { readSizes, rmsNorm } from "./common.ts";
import { llamaLike, qkNorms } from "./llama-like.ts";
import { QWEN_DEFAULTS, qwenLayers } from "./qwen2.ts";

export function qwen3(config: ConfigReader): ModelSpec {
  const sizes = readSizes(config, { ...QWEN_DEFAULTS, dHead: 128 });
  const norm = rmsNorm(config.number("rms_norm_eps", 1e-6));
  const spec = llamaLike(config, {
    family: "qwen3",
    sizes,
    norm,
    qkvBias: config.boolean("attention_bias", false),
    tied: false,
  });
  return {
    ...spec,
    attention: { ...spec.attention, qkNorm: "head", qkNormSpec: norm },
    layers: qwenLayers(config, sizes.nLayers),
    weights: { ...spec.weights, ...qkNorms() },
  };
}
