/** StableLM: Llama with LayerNorm, RoPE on part of each head, and optionally attention and MLP in parallel. */
import { type Family, layerNorm, norm } from "./common.ts";
import { BLOCK, llamaLike } from "./llama-like.ts";
import { PARTIAL_HEAD_KINDS } from "./rope-config.ts";

const DEFAULTS = {
  nLayers: 32,
  dModel: 2560,
  nHeads: 32,
  nKvHeads: 32,
  dMlp: 6912,
  vocabSize: 50304,
  maxPositions: 4096,
};

export const stablelm: Family = (config) => {
  // With it, each head's norm is a tensor of its own.
  config.requireFixed({ qk_layernorm: false });
  const parallel = config.boolean("use_parallel_residual", false);
  const spec = llamaLike(config, "stablelm", DEFAULTS, {
    norm: layerNorm(config.number("layer_norm_eps", 1e-5)),
    normBias: true,
    ...(parallel && { blockNorms: norm("ln1", `${BLOCK}.input_layernorm`, { bias: true }) }),
    qkvBias: config.boolean("use_qkv_bias", false),
    outBias: false,
    rope: { partial: 0.25, kinds: PARTIAL_HEAD_KINDS },
  });
  const residual = parallel ? "parallel" : "sequential";
  return { ...spec, block: { ...spec.block, residual, parallelSharedNorm: parallel } };
};
