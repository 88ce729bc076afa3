/**
 * The Llama layout, which most later families share: `model.layers.{i}.self_attn.q_proj` and so on, a gated MLP, RoPE,
 * grouped-query attention. Each of them takes this spec and changes what differs.
 */
import type { ConfigReader } from "../config.ts";
import type { MlpSpec, ModelSpec, NormSpec, RopeSpec } from "../spec.ts";
import { baseSpec, head, linear, norm, type Sizes, uniformLayers, type Weights } from "./common.ts";
import { readRope, stretchedMaxPositions } from "./rope-config.ts";

export const BLOCK = "model.layers.{i}";

export interface LlamaLike {
  family: string;
  sizes: Sizes;
  norm: NormSpec;
  /** Biases of the query, key and value projections. */
  qkvBias: boolean;
  /** Bias of the output projection; like `qkvBias` when absent. */
  outBias?: boolean;
  mlpBias?: boolean;
  /** Whether the norms have biases. */
  normBias?: boolean;
  /** The family's own theta, 10000 when absent. */
  theta?: number;
  /** transformers' default for `tie_word_embeddings`. */
  tied: boolean;
  /** Which norm stands where; pre-norm by default. */
  blockNorms?: Weights;
  /** Read from `hidden_act`, with SiLU as default, when absent. */
  activation?: MlpSpec["activation"];
  /** One RoPE read from the usual keys when absent. */
  ropes?: RopeSpec[];
}

/** Pre-norm, sequential, SwiGLU, one RoPE over whole heads, no windows. */
export function llamaLike(config: ConfigReader, options: LlamaLike): ModelSpec {
  const { family, sizes, qkvBias, outBias = qkvBias, mlpBias = false, normBias = false } = options;
  const { dHead, maxPositions } = sizes;
  const base = baseSpec(family, sizes, options.norm);
  const ropes = options.ropes ?? [
    readRope(config, { dHead, maxPositions, style: "half", theta: options.theta ?? 10000, partial: null }),
  ];
  const tied = config.boolean("tie_word_embeddings", options.tied);
  return {
    ...base,
    maxPositions: stretchedMaxPositions(maxPositions, ropes),
    mlp: { kind: "gated", activation: options.activation ?? config.activation("hidden_act", "silu") },
    layers: uniformLayers(sizes, { window: null, rope: 0 }),
    ropes,
    unembed: { ...base.unembed, tied },
    weights: {
      "embed.W_E": { tensor: "model.embed_tokens.weight" },
      ...(options.blockNorms ?? preNorms(normBias)),
      ...projections(qkvBias, outBias),
      ...linear("mlp.gate", `${BLOCK}.mlp.gate_proj`, { bias: mlpBias }),
      ...linear("mlp.in", `${BLOCK}.mlp.up_proj`, { bias: mlpBias }),
      ...linear("mlp.out", `${BLOCK}.mlp.down_proj`, { bias: mlpBias }),
      ...norm("lnFinal", "model.norm", { bias: normBias }),
      ...head(tied),
    },
  };
}

/** In a pre-norm block, "post_attention_layernorm" is the norm before the MLP. */
export function preNorms(bias: boolean): Weights {
  return {
    ...norm("ln1", `${BLOCK}.input_layernorm`, { bias }),
    ...norm("ln2", `${BLOCK}.post_attention_layernorm`, { bias }),
  };
}

/** The four attention projections, each in its own tensor. */
export function projections(qkvBias: boolean, outBias: boolean): Weights {
  return {
    ...linear("attn.Q", `${BLOCK}.self_attn.q_proj`, { bias: qkvBias }),
    ...linear("attn.K", `${BLOCK}.self_attn.k_proj`, { bias: qkvBias }),
    ...linear("attn.V", `${BLOCK}.self_attn.v_proj`, { bias: qkvBias }),
    ...linear("attn.O", `${BLOCK}.self_attn.o_proj`, { bias: outBias }),
  };
}

/** Norms of q and k, named `q_norm` and `k_norm`. */
export function qkNorms(): Weights {
  return {
    ...norm("attn.qNorm", `${BLOCK}.self_attn.q_norm`, { bias: false }),
    ...norm("attn.kNorm", `${BLOCK}.self_attn.k_norm`, { bias: false }),
  };
}
