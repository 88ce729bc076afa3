/** Granite: Llama with a multiplier on the embedding, the scores, every addition to the residual, and the logits. */
import type { ConfigReader } from "../config.ts";
import type { ModelSpec } from "../spec.ts";
import { type Family, rmsNorm, type SizeDefaults } from "./common.ts";
import { type LlamaLike, llamaLike } from "./llama-like.ts";

const DEFAULTS = { nLayers: 32, dModel: 4096, nHeads: 32, dMlp: 11008, vocabSize: 32000, maxPositions: 2048 };

export const granite: Family = (config) => graniteLike(config, "granite", DEFAULTS, { eps: 1e-6, tied: false });

/** What the Granites share. */
export function graniteLike(
  config: ConfigReader,
  family: string,
  defaults: SizeDefaults,
  { eps, tied, names }: { eps: number; tied: boolean } & Pick<LlamaLike, "names">,
): ModelSpec {
  const spec = llamaLike(config, family, defaults, {
    norm: rmsNorm(config.number("rms_norm_eps", eps)),
    mlpBias: config.boolean("mlp_bias", false),
    tied,
    ...(names && { names }),
  });
  return {
    ...spec,
    embed: { ...spec.embed, scale: config.number("embedding_multiplier", 1) },
    block: { ...spec.block, residualScale: config.number("residual_multiplier", 1) },
    attention: { ...spec.attention, scale: config.number("attention_multiplier", 1) },
    unembed: { ...spec.unembed, scale: 1 / config.number("logits_scaling", 1) },
  };
}
