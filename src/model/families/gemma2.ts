/** Gemma 2: Gemma with norms before and after attention and MLP, soft caps, and a window in every second layer. */
import type { ConfigReader } from "../config.ts";
import type { ModelSpec } from "../spec.ts";
import { type Family, norm, rmsNorm, type SizeDefaults, type Weights, windowedLayers } from "./common.ts";
import { BLOCK, type LlamaLike, llamaLike } from "./llama-like.ts";

export const GEMMA2_DEFAULTS = {
  nLayers: 26,
  dModel: 2304,
  nHeads: 8,
  nKvHeads: 4,
  dHead: 256,
  dMlp: 9216,
  vocabSize: 256000,
  maxPositions: 8192,
};

export const gemma2: Family = (config) => gemma2Like(config, "gemma2");

/** What Gemma 2 and VaultGemma share. */
export function gemma2Like(
  config: ConfigReader,
  family: string,
  options: Pick<LlamaLike, "blockNorms"> = {},
): ModelSpec {
  const spec = sandwichGemma(config, family, GEMMA2_DEFAULTS, options);
  const types = spec.layers.map((_, i) => (i % 2 === 0 ? "sliding_attention" : "full_attention"));
  return {
    ...spec,
    attention: { ...spec.attention, softCap: config.nullableNumber("attn_logit_softcapping", 50) },
    layers: windowedLayers(config, types, config.nullableInteger("sliding_window", 4096)),
    unembed: { ...spec.unembed, softCap: config.nullableNumber("final_logit_softcapping", 30) },
  };
}

/** What Gemma 2 and 3 share. */
export function sandwichGemma(
  config: ConfigReader,
  family: string,
  defaults: SizeDefaults,
  options: Pick<LlamaLike, "ropes" | "blockNorms"> = {},
): ModelSpec {
  const spec = llamaLike(config, family, defaults, {
    norm: rmsNorm(config.number("rms_norm_eps", 1e-6), 1),
    blockNorms: sandwichNorms(),
    activation: config.activation("hidden_activation", "gelu_pytorch_tanh"),
    tied: true,
    ...options,
  });
  const scale = config.number("query_pre_attn_scalar", 256) ** -0.5;
  return {
    ...spec,
    embed: { ...spec.embed, scale: Math.sqrt(spec.dModel) },
    block: { ...spec.block, norms: "sandwich" },
    attention: { ...spec.attention, scale },
  };
}

/** Norms before and after attention and MLP. */
export function sandwichNorms(): Weights {
  return {
    ...norm("ln1", `${BLOCK}.input_layernorm`, { bias: false }),
    ...norm("ln1Post", `${BLOCK}.post_attention_layernorm`, { bias: false }),
    ...norm("ln2", `${BLOCK}.pre_feedforward_layernorm`, { bias: false }),
    ...norm("ln2Post", `${BLOCK}.post_feedforward_layernorm`, { bias: false }),
  };
}
