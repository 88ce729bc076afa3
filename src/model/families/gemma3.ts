/**
 * Gemma 3: Gemma 2 without soft caps on attention, with normed q and k, and with two RoPEs. One is for the layers with a
 * window (five of six), the other, possibly scaled, for the rest. A multimodal config holds the text model's config.
 */
import type { ConfigReader } from "../config.ts";
import type { ModelSpec, RopeSpec } from "../spec.ts";
import { readSizes, type Sizes, typedLayers, withCausality } from "./common.ts";
import { sandwichGemma } from "./gemma2.ts";
import { qkNorms } from "./llama-like.ts";
import { ropeFrom } from "./rope-config.ts";

const DEFAULTS = {
  nLayers: 26,
  dModel: 2304,
  nHeads: 8,
  nKvHeads: 4,
  dHead: 256,
  dMlp: 9216,
  vocabSize: 262208,
  maxPositions: 131072,
};

export function gemma3Text(config: ConfigReader): ModelSpec {
  const sizes = readSizes(config, DEFAULTS);
  const ropes = gemma3Ropes(config, sizes);
  const spec = sandwichGemma(config, "gemma3_text", sizes, ropes);
  const bidirectional = config.nullableBoolean("use_bidirectional_attention", false);
  const stated = config.nullableInteger("sliding_window", 4096);
  // The window of a bidirectional model is counted from one end to the other.
  const window = stated !== null && bidirectional ? Math.floor(stated / 2) + 1 : stated;
  const pattern = config.integer("sliding_window_pattern", 6);
  const types = spec.layers.map((_, i) => ((i + 1) % pattern === 0 ? "full_attention" : "sliding_attention"));
  return {
    ...spec,
    attention: { ...spec.attention, qkNorm: "head", ...(bidirectional && { causal: false }) },
    layers: typedLayers(config, types, {
      full_attention: { window: null, rope: 0 },
      sliding_attention: window === null ? null : { window, rope: 1 },
    }),
    unembed: { ...spec.unembed, softCap: config.nullableNumber("final_logit_softcapping", null) },
    weights: { ...spec.weights, ...qkNorms() },
  };
}

/** The text model of a multimodal checkpoint. */
export function gemma3(config: ConfigReader): ModelSpec {
  const text = config.child("text_config");
  if (!text) config.refuse("text_config", "is missing; a gemma3 config holds the text model there");
  const spec = withCausality(text, gemma3Text(text));
  config.requireFixed({ tie_word_embeddings: spec.unembed.tied });
  return { ...spec, family: "gemma3" };
}

/**
 * [full attention, window]: from `rope_parameters` by layer type, or the older keys. `rope_scaling` changes the first of the
 * two; what stands in `rope_parameters` beside the types changes nothing.
 */
function gemma3Ropes(config: ConfigReader, { dHead, maxPositions }: Sizes): RopeSpec[] {
  const parameters = config.child("rope_parameters");
  const none = config.empty("rope_parameters");
  const defaults = { dHead, maxPositions, style: "half" as const, partial: null };
  const full = (parameters?.child("full_attention") ?? none).with(config.child("rope_scaling"));
  const sliding = parameters?.child("sliding_attention") ?? none;
  return [
    ropeFrom(config, full, { ...defaults, theta: config.number("rope_theta", 1e6) }),
    ropeFrom(config, sliding, { ...defaults, theta: config.number("rope_local_base_freq", 1e4) }),
  ];
}
