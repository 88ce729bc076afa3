/** Qwen 2 and 2.5: Llama with biases on q, k and v, and a window in the upper layers when one is switched on. */
import type { ConfigReader } from "../config.ts";
import type { LayerSpec } from "../spec.ts";
import { type Family, windowedLayers } from "./common.ts";
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

export const qwen2: Family = (config) => {
  const spec = llamaLike(config, "qwen2", QWEN_DEFAULTS, { qkvBias: true, outBias: false });
  return { ...spec, layers: qwenLayers(config, spec.nLayers) };
};

/** `use_sliding_window` switches the window on for layers from `max_window_layers` up. */
export function qwenLayers(config: ConfigReader, nLayers: number, firstWindow = 28): LayerSpec[] {
  const isOn = config.boolean("use_sliding_window", false);
  const window = isOn ? config.nullableInteger("sliding_window", 4096) : null;
  const from = config.number("max_window_layers", firstWindow);
  const types = Array.from({ length: nLayers }, (_, i) =>
    window !== null && i >= from ? "sliding_attention" : "full_attention",
  );
  return windowedLayers(config, types, window);
}
