/** Qwen 2 and 2.5: Llama with biases on q, k and v, and a window in the upper layers when one is switched on. */
import type { ConfigReader } from "../config.ts";
import type { LayerSpec, ModelSpec } from "../spec.ts";
import { readSizes, rmsNorm, typedLayers } from "./common.ts";
import { llamaLike } from "./llama-like.ts";

export const QWEN_DEFAULTS = {
  nLayers: 32,
  dModel: 4096,
  nHeads: 32,
  nKvHeads: 32,
  dMlp: 22016,
  vocabSize: 151936,
  maxPositions: 32768,
};

export function qwen2(config: ConfigReader): ModelSpec {
  const sizes = readSizes(config, QWEN_DEFAULTS);
  return {
    ...llamaLike(config, {
      family: "qwen2",
      sizes,
      norm: rmsNorm(config.number("rms_norm_eps", 1e-6)),
      qkvBias: true,
      outBias: false,
      tied: false,
    }),
    layers: qwenLayers(config, sizes.nLayers),
  };
}

/** `use_sliding_window` switches the window on for layers from `max_window_layers` up. */
export function qwenLayers(config: ConfigReader, nLayers: number): LayerSpec[] {
  const isOn = config.boolean("use_sliding_window", false);
  const window = isOn ? config.nullableInteger("sliding_window", 4096) : null;
  const from = config.number("max_window_layers", 28);
  const types = Array.from({ length: nLayers }, (_, i) =>
    window !== null && i >= from ? "sliding_attention" : "full_attention",
  );
  return typedLayers(config, types, {
    full_attention: { window: null, rope: 0 },
    sliding_attention: window === null ? null : { window, rope: 0 },
  });
}
