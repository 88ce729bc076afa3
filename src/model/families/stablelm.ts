/** StableLM: Llama with LayerNorm, RoPE on part of each head, and optionally attention and MLP in parallel. */
import type { ConfigReader } from "../config.ts";
import type { ModelSpec } from "../spec.ts";
import { baseSpec, head, layerNorm, linear, norm, readSizes, uniformLayers } from "./common.ts";
import { BLOCK, preNorms, projections } from "./llama-like.ts";
import { PARTIAL_HEAD_KINDS, readRope, stretchedMaxPositions } from "./rope-config.ts";

const DEFAULTS = {
  nLayers: 32,
  dModel: 2560,
  nHeads: 32,
  nKvHeads: 32,
  dMlp: 6912,
  vocabSize: 50304,
  maxPositions: 4096,
};

export function stablelm(config: ConfigReader): ModelSpec {
  // With it, each head's norm is a tensor of its own.
  config.requireFixed({ qk_layernorm: false });
  const sizes = readSizes(config, DEFAULTS);
  const { dHead, maxPositions } = sizes;
  const base = baseSpec("stablelm", sizes, layerNorm(config.number("layer_norm_eps", 1e-5)));
  const rope = readRope(config, {
    ...{ dHead, maxPositions, style: "half", theta: 10000, partial: 0.25 },
    kinds: PARTIAL_HEAD_KINDS,
  });
  const parallel = config.boolean("use_parallel_residual", false);
  const tied = config.boolean("tie_word_embeddings", false);
  const noBias = { bias: false };
  return {
    ...base,
    maxPositions: stretchedMaxPositions(maxPositions, [rope]),
    block: { ...base.block, residual: parallel ? "parallel" : "sequential", parallelSharedNorm: parallel },
    mlp: { kind: "gated", activation: config.activation("hidden_act", "silu") },
    layers: uniformLayers(sizes, { window: null, rope: 0 }),
    ropes: [rope],
    unembed: { ...base.unembed, tied },
    weights: {
      "embed.W_E": { tensor: "model.embed_tokens.weight" },
      ...(parallel ? norm("ln1", `${BLOCK}.input_layernorm`, { bias: true }) : preNorms(true)),
      ...projections(config.boolean("use_qkv_bias", false), false),
      ...linear("mlp.gate", `${BLOCK}.mlp.gate_proj`, noBias),
      ...linear("mlp.in", `${BLOCK}.mlp.up_proj`, noBias),
      ...linear("mlp.out", `${BLOCK}.mlp.down_proj`, noBias),
      ...norm("lnFinal", "model.norm", { bias: true }),
      ...head(tied),
    },
  };
}
