/** Qwen 3: Llama with a norm on each head's q and k, and a head width of its own. */
import type { Family } from "./common.ts";
import { llamaLike, qkNorms } from "./llama-like.ts";
import { QWEN_DEFAULTS, qwenLayers } from "./qwen2.ts";

export const qwen3: Family = (config) => {
  const spec = llamaLike(config, "qwen3", { ...QWEN_DEFAULTS, dHead: 128 });
  return {
    ...spec,
    attention: { ...spec.attention, qkNorm: "head" },
    layers: qwenLayers(config, spec.nLayers),
    weights: { ...spec.weights, ...qkNorms() },
  };
};
