/** StableLM: Llama with LayerNorm, RoPE on part of each head, and optionally attention and MLP in parallel, or a norm of each head's q and k. */
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
  const own = { ...spec, block: { ...spec.block, residual, parallelSharedNorm: parallel } } as const;
  if (!config.boolean("qk_layernorm", false)) return own;
  return {
    ...own,
    attention: { ...spec.attention, qkNorm: "perHead" },
    weights: {
      ...spec.weights,
      // Each head's norm is a tensor of its own.
      ...norm("attn.qNorm", `${BLOCK}.self_attn.q_layernorm.norms.{h}`, { bias: false }),
      ...norm("attn.kNorm", `${BLOCK}.self_attn.k_layernorm.norms.{h}`, { bias: false }),
    },
  };
};
