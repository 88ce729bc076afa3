/** EXAONE 4: norms after attention and MLP, a norm on each head's q and k, and RoPE in the layers with a window alone where some have one. */
import { type Family, windowedLayers } from "./common.ts";
import { llamaLike, qkNorms } from "./llama-like.ts";
import { postNorms } from "./olmo2.ts";

const DEFAULTS = {
  nLayers: 32,
  dModel: 4096,
  nHeads: 32,
  nKvHeads: 32,
  dMlp: 16384,
  vocabSize: 102400,
  maxPositions: 2048,
};

export const exaone4: Family = (config) => {
  const spec = llamaLike(config, "exaone4", DEFAULTS, {
    norm: { kind: "rms", eps: config.number("rms_norm_eps", 1e-5), weightOffset: 0 },
    blockNorms: postNorms(),
    qkvBias: false,
  });
  const window = config.nullableInteger("sliding_window", 4096);
  const layers = windowedLayers(config, windowPattern(), window);
  return {
    ...spec,
    block: { ...spec.block, norms: "post" },
    attention: { ...spec.attention, qkNorm: "head" },
    layers: layers.map((layer) => (window === null || layer.window !== null ? layer : { ...layer, rope: null })),
    weights: { ...spec.weights, ...qkNorms() },
  };

  /** Every so manieth layer has none; the pattern may be spelt as text, which transformers does not read without layer_types. */
  function windowPattern(): string[] {
    const pattern = window === null || config.has("layer_types") ? 1 : config.integer("sliding_window_pattern", 4);
    return spec.layers.map((_, i) => ((i + 1) % pattern === 0 ? "full_attention" : "sliding_attention"));
  }
};
