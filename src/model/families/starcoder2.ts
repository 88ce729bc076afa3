/** StarCoder 2: Llama's attention with LayerNorm, biases and a plain GELU MLP; one window for all layers, or none. */
import type { ConfigReader } from "../config.ts";
import type { ModelSpec } from "../spec.ts";
import { baseSpec, head, layerNorm, linear, norm, readSizes, uniformLayers } from "./common.ts";
import { BLOCK, preNorms, projections } from "./llama-like.ts";
import { readRope, stretchedMaxPositions } from "./rope-config.ts";

const DEFAULTS = {
  nLayers: 30,
  dModel: 3072,
  nHeads: 24,
  nKvHeads: 2,
  dMlp: 12288,
  vocabSize: 49152,
  maxPositions: 4096,
};

export function starcoder2(config: ConfigReader): ModelSpec {
  const sizes = readSizes(config, DEFAULTS);
  const { dHead, maxPositions } = sizes;
  const base = baseSpec("starcoder2", sizes, layerNorm(config.number("norm_epsilon", 1e-5)));
  const rope = readRope(config, { dHead, maxPositions, style: "half", theta: 10000, partial: null });
  const bias = config.boolean("use_bias", true);
  const tied = config.boolean("tie_word_embeddings", true);
  const window = config.nullableInteger("sliding_window", null);
  return {
    ...base,
    maxPositions: stretchedMaxPositions(maxPositions, [rope]),
    mlp: { kind: "plain", activation: config.activation("hidden_act", "gelu_pytorch_tanh") },
    layers: uniformLayers(sizes, { window, rope: 0 }),
    ropes: [rope],
    unembed: { ...base.unembed, tied },
    weights: {
      "embed.W_E": { tensor: "model.embed_tokens.weight" },
      ...preNorms(true),
      ...projections(bias, bias),
      ...linear("mlp.in", `${BLOCK}.mlp.c_fc`, { bias }),
      ...linear("mlp.out", `${BLOCK}.mlp.c_proj`, { bias }),
      ...norm("lnFinal", "model.norm", { bias: true }),
      ...head(tied),
    },
  };
}
