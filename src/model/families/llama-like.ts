/**
 * The Llama layout, which most later families share: `model.layers.{i}.self_attn.q_proj` and so on, a gated MLP, RoPE,
 * grouped-query attention. Each of them takes this spec and changes what differs.
 */
import { type ConfigReader, SIZE_NAMES, type SizeNames } from "../config.ts";
import type { MlpSpec, ModelSpec, NormSpec, RopeSpec } from "../spec.ts";
import {
  baseSpec,
  head,
  linear,
  norm,
  readSizes,
  rmsNorm,
  type SizeDefaults,
  type Sizes,
  separateQkv,
  type Weights,
} from "./common.ts";
import { type RopeDefaults, readRope } from "./rope-config.ts";

export const BLOCK = "model.layers.{i}";

/** Where a family differs from Llama. */
export interface LlamaLike {
  /** Names of sizes that are not the usual ones. */
  names?: Partial<SizeNames>;
  /** An RMSNorm whose eps is read from `rms_norm_eps`, 1e-6 by default, when absent. */
  norm?: NormSpec;
  /** Whether the norms have biases. */
  normBias?: boolean;
  /** Which norm stands where; pre-norm by default. */
  blockNorms?: Weights;
  /** Biases of the query, key and value projections; read from `attention_bias` when absent. */
  qkvBias?: boolean;
  /** Bias of the output projection; like `qkvBias` when absent. */
  outBias?: boolean;
  mlpBias?: boolean;
  /** The projections of a plain MLP, in place of the gated one. */
  plainMlp?: Weights;
  /** Read from `hidden_act`, with SiLU as default, when absent. */
  activation?: MlpSpec["activation"];
  /** Of the one RoPE, read from the usual keys, what differs: theta is 10000, and whole heads rotate. */
  rope?: Partial<RopeDefaults>;
  /** Several RoPEs instead. */
  ropes?: (sizes: Sizes) => RopeSpec[];
  /** transformers' default for `tie_word_embeddings`; false when absent. */
  tied?: boolean;
}

/** Pre-norm, sequential, SwiGLU, one RoPE over whole heads, no windows. */
export function llamaLike(
  config: ConfigReader,
  family: string,
  defaults: SizeDefaults,
  options: LlamaLike = {},
): ModelSpec {
  const sizes = readSizes(config, defaults, { ...SIZE_NAMES, ...options.names });
  const { dHead, maxPositions } = sizes;
  const { norm: kind = rmsNorm(config.number("rms_norm_eps", 1e-6)), normBias = false, mlpBias = false } = options;
  const { qkvBias = config.boolean("attention_bias", false), outBias = qkvBias } = options;
  const ropes = options.ropes?.(sizes) ?? [
    readRope(config, { dHead, maxPositions, style: "half", theta: 10000, partial: null, ...options.rope }),
  ];
  const tied = config.boolean("tie_word_embeddings", options.tied ?? false);
  const activation = options.activation ?? config.activation("hidden_act", "silu");
  return {
    ...baseSpec(family, sizes, kind, { tied, ropes }),
    mlp: { kind: options.plainMlp ? "plain" : "gated", activation },
    weights: {
      "embed.W_E": { tensor: "model.embed_tokens.weight" },
      ...(options.blockNorms ?? preNorms(normBias)),
      ...separateQkv(`${BLOCK}.self_attn`, qkvBias),
      ...linear("attn.O", `${BLOCK}.self_attn.o_proj`, { bias: outBias }),
      ...(options.plainMlp ?? gatedMlp(mlpBias)),
      ...norm("lnFinal", "model.norm", { bias: normBias }),
      ...head(tied),
    },
  };
}

/** In a pre-norm block, "post_attention_layernorm" is the norm before the MLP. */
function preNorms(bias: boolean): Weights {
  return {
    ...norm("ln1", `${BLOCK}.input_layernorm`, { bias }),
    ...norm("ln2", `${BLOCK}.post_attention_layernorm`, { bias }),
  };
}

export function gatedMlp(bias: boolean, module = `${BLOCK}.mlp`): Weights {
  return {
    ...linear("mlp.gate", `${module}.gate_proj`, { bias }),
    ...linear("mlp.in", `${module}.up_proj`, { bias }),
    ...linear("mlp.out", `${module}.down_proj`, { bias }),
  };
}

/** A plain MLP under the names of the gated one's projections. */
export function plainUpDown(bias: boolean): Weights {
  return {
    ...linear("mlp.in", `${BLOCK}.mlp.up_proj`, { bias }),
    ...linear("mlp.out", `${BLOCK}.mlp.down_proj`, { bias }),
  };
}

/** A gated MLP whose tensor `module.weight` holds the gate's rows, then those of the other projection. */
export function fusedGateUp(module: string, dMlp: number): Weights {
  const half = (start: number) => ({ bias: false, rows: { groups: 1, groupSize: 2 * dMlp, start, count: dMlp } });
  return { ...linear("mlp.gate", module, half(0)), ...linear("mlp.in", module, half(dMlp)) };
}

/** Norms of q and k, named `q_norm` and `k_norm`. */
export function qkNorms(): Weights {
  return {
    ...norm("attn.qNorm", `${BLOCK}.self_attn.q_norm`, { bias: false }),
    ...norm("attn.kNorm", `${BLOCK}.self_attn.k_norm`, { bias: false }),
  };
}
