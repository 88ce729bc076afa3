/**
 * What a decoder-only transformer computes: a `ModelSpec` (spec.ts) without the places of its weights.
 *
 * Shapes: `dModel` residual width, `nHeads` query heads, `nKvHeads` key-value heads (grouped-query attention shares
 * each among `nHeads / nKvHeads` query heads), `dHead` width of one head's queries and keys, `dMlp` width of the MLP's hidden layer. Blocks
 * may have other `nKvHeads`, `dHead` and `dMlp` (`LayerSpec`).
 */

import type { Activation } from "../kernels/calls.ts";
import type { NormSpec } from "../kernels/norm.ts";
import type { RoutingSpec } from "../kernels/routing.ts";

export type { Activation, NormSpec, RoutingSpec };

/** A decoder-only transformer; see above. */
export interface Architecture {
  /** The `model_type` of the config, for display only. */
  family: string;
  nLayers: number;
  dModel: number;
  nHeads: number;
  nKvHeads: number;
  dHead: number;
  /** Width of a head's values, and of what it gives `attn.W_O`; `dHead` when absent (deepseek). */
  dValue?: number;
  dMlp: number;
  vocabSize: number;
  /** Longest sequence, in tokens. */
  maxPositions: number;
  embed: EmbedSpec;
  /** Position schemes other than RoPE. RoPE belongs to each layer, see `LayerSpec.rope`. */
  positions: PositionSpec;
  norm: NormSpec;
  block: BlockSpec;
  attention: AttentionSpec;
  mlp: MlpSpec;
  /** One entry a block: what differs from layer to layer. */
  layers: LayerSpec[];
  /** RoPE tables the layers refer to by index; empty when no layer uses RoPE. */
  ropes: RopeSpec[];
  unembed: UnembedSpec;
}

/** From tokens to the first residual. */
export interface EmbedSpec {
  /** Multiplies the token embedding (gemma: sqrt(dModel), granite: embedding_multiplier). 1 when absent in the model. */
  scale: number;
  /** A norm right after the embedding (bloom); uses `embed.norm.w|b`. */
  norm: boolean;
  /**
   * Width of the embedding where it is not dModel (opt-350m): `embed.W_proj` [dModel, width] takes it to the residual, and
   * `unembed.W_proj` [width, dModel] the last residual back to it. dModel when absent.
   */
  width?: number;
  /** Embeddings that every block has for itself; see there. */
  perLayer?: PerLayerSpec;
}

/**
 * Embeddings for each block (gemma4: per-layer embeddings). A block adds one more term to the residual, after its MLP:
 *
 *   norm(W_out (act(W_gate x) * e))   with   e = (normed(W_proj h * projectionScale) + T[token] * tableScale) * scale
 *
 * where x is the residual there, h the token's embedding (`hook_embed`), and W_proj [nLayers * width, dModel] and T [vocabSize, nLayers *
 * width] have `width` rows or columns for each block. `normed` is over each block's `width`. Weights: `embed.perLayer.W_E` (T),
 * `embed.perLayer.W_proj`, `embed.perLayer.norm.w|b`, and in each block `perLayer.W_gate` [width, dModel], `perLayer.W_out` [dModel,
 * width] and `perLayer.norm.w|b`. Such a model needs tokens: it does not run from `inputsEmbeds`, nor from a later block on.
 */
export interface PerLayerSpec {
  width: number;
  /** Rows of the table; at least the vocabulary's. */
  vocabSize: number;
  tableScale: number;
  projectionScale: number;
  scale: number;
  activation: Activation;
}

/** How positions come in, RoPE apart. */
export type PositionSpec =
  /** Nothing is added to the embedding (RoPE models, and models without positions). */
  | { kind: "none" }
  /** `embed.W_pos[position + offset]` is added (gpt2: 0, opt: 2). */
  | { kind: "learned"; offset: number }
  /** Sines, then cosines, of (position + offset) times frequencies from 1 to 1 / 10000 are added to the embedding (xglm). */
  | { kind: "sinusoidal"; offset: number }
  /** `slope[head] * key position` is added to the scores after scaling. Equal to `slope * (key - query)` under softmax. */
  /**
   * With `roundedScale` it is that times `slope[head] * key position` rounded to bfloat16, which no shift of the query's position
   * leaves the same (falcon).
   */
  | { kind: "alibi"; slopes: number[]; roundedScale?: number };

/** Where norms and additions stand in a block. */
export interface BlockSpec {
  /**
   * `pre`: x + f(norm(x)); `post`: x + norm(f(x)) (olmo2); `sandwich`: x + normPost(f(norm(x))) (gemma2, gemma3); `added`:
   * normPost(x + f(x)), after the addition (the first GPT, opt-350m).
   * The norms are `ln1` (before attention), `ln1Post` (after), `ln2` (before the MLP), `ln2Post` (after).
   */
  norms: "pre" | "post" | "sandwich" | "added";
  /** Attention and MLP are added to what they read, norm(x), rather than to x (some BLOOMs); `pre` and sequential blocks only. */
  normedResidual?: boolean;
  /**
   * `sequential`: attention is added before the MLP reads. `parallel`: both read the residual before the block,
   * with `ln1` and `ln2` (gpt_neox) or with `ln1` for both (`parallelSharedNorm`: gptj, phi, falcon, cohere).
   */
  residual: "sequential" | "parallel";
  /** `ln1` serves attention and MLP; `parallel` blocks only. */
  parallelSharedNorm: boolean;
  /** Multiplies what attention and MLP add to the residual (granite: residual_multiplier). */
  residualScale: number;
  /** The residual after each block is multiplied by a number, the weight `block.scalar` (gemma4). False when absent. */
  scalar?: boolean;
}

/** From queries and keys to scores. */
export interface AttentionSpec {
  /** Multiplies q·k. Usually 1 / sqrt(dHead). */
  scale: number;
  /** cap * tanh(score / cap), after the scale and before the mask (gemma2); null when off. */
  softCap: number | null;
  /**
   * Norm of q and k before RoPE. `head`: over each head's dHead; `full`: over all heads together (olmo2). The weight
   * `attn.qNorm.w` has dHead, nHeads*dHead ("full"), or [nHeads, dHead] ("perHead": each head its own) entries.
   */
  qkNorm: "none" | "head" | "perHead" | "full";
  /** Norm kind and eps for q and k; read when qkNorm is not "none". */
  qkNormSpec: NormSpec;
  /** Norm of each head's values, over dHead, before they are stored (gemma4: without weights); weights `attn.vNorm.w|b`. None when absent. */
  vNorm?: NormSpec;
  /** The norm of q and k comes after RoPE (hunyuan, nanochat). False when absent. */
  qkNormAfterRope?: boolean;
  /** Queries, keys and values are kept within ±clamp, right after their projection (olmo, mpt). No clamp when absent. */
  clamp?: number;
  /** False: a query also sees the keys after it, to the end of its sequence (models of embeddings). True when absent. */
  causal?: boolean;
  /**
   * Each head has a sink (`attn.sinks`, a number a head). It is a score beside those of the keys in the softmax, of a key without a
   * value, so that a row of the pattern adds up to less than 1 (gpt_oss, granite_swa). Not together with ALiBi.
   */
  sinks?: boolean;
  /** Keys and values are projected from a latent vector that all heads share, queries perhaps from another (deepseek). */
  latent?: LatentSpec;
}

/**
 * Multi-head latent attention (DeepSeek V2, arXiv 2405.04434, section 2.1). Of what attention reads, x,
 *
 *   c = norm(W_DKV x)      q[head] = [.., RoPE(the last dRope)] of W_UQ[head] norm(W_DQ x), or of W_Q[head] x
 *                          k[head] = [W_UK[head] c, RoPE(W_KR x)]
 *                          v[head] = W_UV[head] c
 *
 * so that a head's queries and keys are `dHead` wide, of which the last `dRope` dimensions rotate. Those of the keys are the same in all heads.
 */
export interface LatentSpec {
  /** Width of c. */
  dKv: number;
  /** Width of the queries' latent vector; without it queries are projected from x. */
  dQ?: number;
  /** Even, less than `dHead`. The RoPEs of the layers turn the first `rotaryDim` of them. */
  dRope: number;
  /** Of both latent vectors: `attn.kvLatentNorm.w`, `attn.qLatentNorm.w`. */
  norm: NormSpec;
}

/** The MLP of every block. */
export interface MlpSpec {
  /** `plain`: W_out act(W_in x); `gated`: W_out (act(W_gate x) * (W_in x)). */
  kind: "plain" | "gated";
  /**
   * A function of each element, or `xielu`, which has weights in each block: `mlp.xielu.alphaP` and `mlp.xielu.alphaN`, its slopes, and
   * the constants `mlp.xielu.beta` and `mlp.xielu.eps` (apertus; arXiv 2411.13010). Not for experts.
   */
  activation: Activation | "xielu";
  /** When true the block has no MLP at all. */
  absent?: boolean;
  /** In place of one MLP many, of which each row goes through a few. Layers may be `dense` all the same. */
  experts?: ExpertsSpec;
}

/**
 * A mixture of experts: each expert is an MLP of the block's kind, `dExpert` wide. A router gives each row a logit an expert,
 * `routing` says which experts it goes through and with which weights, and the MLP adds
 *
 *   sum over the chosen of weight * expert(x)   [+ shared(x), or sigmoid(w_shared x) * shared(x)]
 */
export interface ExpertsSpec {
  /** How many there are, at most 1024. */
  count: number;
  /** How many each row goes through. */
  perToken: number;
  /** Width of an expert's hidden layer. */
  dExpert: number;
  routing: RoutingSpec;
  /** A row's weight multiplies what the expert reads, not what it gives (llama4). */
  weighsInput?: boolean;
  /** min(gate, limit), and the other factor in [-limit, limit] with `plus` added after that (gpt_oss); gated experts only. */
  clamp?: { limit: number; plus: number };
  /** An MLP that every row goes through, `dMlp` wide; `gate`: its output is multiplied by sigmoid(w_shared x) (qwen2_moe). */
  shared?: { dMlp: number; gate: boolean };
}

/** What one block has for itself. */
export interface LayerSpec {
  /** A query at p sees keys p-window+1 .. p, without causality .. p+window-1; null: all keys up to p, or all. */
  window: number | null;
  /** A query at p sees the keys of its chunk up to p: those from p - p mod chunk on (llama4). Not beside a window; causal attention only. */
  chunk?: number;
  /** Index into `ropes`, or null for a layer without RoPE (smollm3). */
  rope: number | null;
  /** False: no norm of q and k in this layer, although `attention.qkNorm` has one (llama4, in layers without RoPE). */
  qkNorm?: boolean;
  /** Multiplies queries by a function of their position (ministral3, llama4). */
  queryScale?: QueryScale;
  /** Overrides `attention.scale` for this layer (gpt2's scale_attn_by_inverse_layer_idx). */
  attentionScale?: number;
  /**
   * False: attention reads the residual itself, without `ln1` (the first block of modernbert-decoder, whose embedding is normed). For
   * sequential blocks with a norm before attention. True when absent.
   */
  attentionNorm?: boolean;
  /** Override the spec's `dHead` and `nKvHeads` for this layer. Ask `dHeadOf` and `nKvHeadsOf` (weights/table.ts). */
  dHead?: number;
  nKvHeads?: number;
  /** Attention reads the keys and values of this earlier block, which has its own; this one makes none (gemma4). */
  keysFrom?: number;
  /** Values are the keys, as they are projected, before norm and RoPE: the layer has no W_V (gemma4: attention_k_eq_v). */
  valuesFromKeys?: boolean;
  /** Overrides the spec's `dMlp` for this layer. Ask `dMlpOf` (weights/table.ts), which knows both. */
  dMlp?: number;
  /** One MLP, `dMlp` wide, although the model has `mlp.experts`. */
  dense?: boolean;
}

/** The query at position p is multiplied by 1 + factor * log(1 + floor((p + shift) / span)), after norm and RoPE. */
export interface QueryScale {
  factor: number;
  span: number;
  shift: number;
}

/** A rotary position embedding: which dimensions turn, and how fast. */
export interface RopeSpec {
  /** Base of the frequencies: pair j of dimensions turns by position * theta^(-2 j / rotaryDim) before scaling. */
  theta: number;
  /** Number of leading dimensions of each head that rotate; the rest pass. Even. */
  rotaryDim: number;
  /** `half`: dimension i pairs with i + rotaryDim/2 (neox, llama); `interleaved`: 2i with 2i+1 (gptj, cohere). */
  style: "half" | "interleaved";
  /** Turns the other way (nanochat): by minus the angle. */
  reversed?: boolean;
  scaling: RopeScaling;
}

/** Formulas: transformers `modeling_rope_utils.py`, which follows the papers named there. */
export type RopeScaling =
  | { kind: "none" }
  | { kind: "linear"; factor: number }
  | { kind: "dynamic"; factor: number; originalMaxPositions: number }
  /** The first `share` of the frequencies over the whole head, divided by `factor`; the other pairs do not turn. */
  | { kind: "proportional"; factor: number; share: number }
  | { kind: "llama3"; factor: number; lowFreqFactor: number; highFreqFactor: number; originalMaxPositions: number }
  | {
      kind: "yarn";
      factor: number;
      originalMaxPositions: number;
      betaFast: number;
      betaSlow: number;
      /** Multiplies cos and sin. */
      attentionFactor: number;
      truncate: boolean;
    }
  | {
      /** Each frequency has divisors of its own: `longFactors` in passes over sequences beyond the original length. */
      kind: "longrope";
      shortFactors: number[];
      longFactors: number[];
      originalMaxPositions: number;
      /** Multiplies cos and sin. */
      attentionFactor: number;
    };

/** From the last residual to logits. */
export interface UnembedSpec {
  /** W_U is the token embedding. */
  tied: boolean;
  /** Multiplies the logits before the soft cap (cohere: logit_scale; granite: 1 / logits_scaling). */
  scale: number;
  softCap: number | null;
  /** False: no norm between the last block and the unembedding (the first GPT). True when absent. */
  norm?: boolean;
  /**
   * A layer between the final norm and the unembedding, which reads norm(act(W x + b)) (modernbert-decoder). Weights
   * `unembed.W_transform` [dModel, dModel], `unembed.b_transform`, and the norm's `unembed.ln.w|b`.
   */
  transform?: { activation: Activation };
}
