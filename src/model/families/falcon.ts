/**
 * Falcon, in three layouts of packed q, k, v: multi-query (7B: all queries, then one key and one value),
 * the new decoder (40B: per key-value head its queries, key and value), and head by head (falcon-rw).
 */

import { inBfloat16 } from "../../ops/attention-reference.ts";
import { type ConfigReader, SIZE_NAMES } from "../config.ts";
import type { BlockSpec } from "../spec.ts";
import { alibiSlopes } from "./bloom.ts";
import {
  baseSpec,
  type Family,
  head,
  layerNorm,
  linear,
  norm,
  packedQkv,
  readEvenSizes,
  type Weights,
} from "./common.ts";
import { readRope } from "./rope-config.ts";

const DEFAULTS = { nLayers: 32, dModel: 4544, nHeads: 71, vocabSize: 65024, maxPositions: 2048 };
const NAMES = { ...SIZE_NAMES, dMlp: ["ffn_hidden_size"] };

type Residual = Pick<BlockSpec, "residual" | "parallelSharedNorm">;

export const falcon: Family = (config) => {
  const evenSizes = readEvenSizes(config, DEFAULTS, NAMES);
  const { nHeads, dHead, maxPositions } = evenSizes;
  const layout = keyValueLayout(config, nHeads);
  const sizes = { ...evenSizes, nKvHeads: layout.nKvHeads };
  const alibi = config.nullableBoolean("alibi", false);
  const ropes = alibi ? [] : [readRope(config, { dHead, maxPositions, style: "half", theta: 10000, partial: null })];
  const bias = config.boolean("bias", false);
  const tied = config.boolean("tie_word_embeddings", true);
  const eps = config.number("layer_norm_epsilon", 1e-5);
  const base = baseSpec("falcon", sizes, layerNorm(eps), { tied, ropes });
  const { residual, norms } = blockLayout(config);
  const block = "transformer.h.{i}";
  const { groups } = layout;
  const qkv = { groups, q: (nHeads / groups) * dHead, k: dHead, v: dHead };
  return {
    ...base,
    // ALiBi is added in bfloat16, before scores are scaled.
    ...(alibi && {
      positions: {
        ...{ kind: "alibi", slopes: alibiSlopes(nHeads).map(inBfloat16) },
        roundedScale: 1 / Math.sqrt(dHead),
      } as const,
    }),
    block: { ...base.block, ...residual },
    mlp: { kind: "plain", activation: config.activation("activation", "gelu") },
    weights: {
      "embed.W_E": { tensor: "transformer.word_embeddings.weight" },
      ...norms,
      ...packedQkv(`${block}.self_attention.query_key_value`, qkv, { bias }),
      ...linear("attn.O", `${block}.self_attention.dense`, { bias }),
      ...linear("mlp.in", `${block}.mlp.dense_h_to_4h`, { bias }),
      ...linear("mlp.out", `${block}.mlp.dense_4h_to_h`, { bias }),
      ...norm("lnFinal", "transformer.ln_f", { bias: true }),
      ...head(tied),
    },
  };
};

/** Packed groups, and key-value heads; the old decoder takes no notice of num_kv_heads. */
function keyValueLayout(config: ConfigReader, nHeads: number) {
  const nKvHeads = config.nullableInteger("num_kv_heads", null) ?? nHeads;
  if (config.nullableBoolean("new_decoder_architecture", false)) {
    if (nHeads % nKvHeads === 0) return { groups: nKvHeads, nKvHeads };
    config.refuse("num_kv_heads", `does not divide the ${nHeads} query heads`);
  }
  return config.nullableBoolean("multi_query", true)
    ? { groups: 1, nKvHeads: 1 }
    : { groups: nHeads, nKvHeads: nHeads };
}

/** Where the norms sit: the new decoder has one for attention and one for the MLP unless told otherwise. */
function blockLayout(config: ConfigReader): { residual: Residual; norms: Weights } {
  const block = "transformer.h.{i}";
  const input = norm("ln1", `${block}.input_layernorm`, { bias: true });
  const isNew = config.nullableBoolean("new_decoder_architecture", false);
  const parallel = config.nullableBoolean("parallel_attn", true);
  if (!parallel && !isNew) {
    return {
      residual: { residual: "sequential", parallelSharedNorm: false },
      norms: { ...input, ...norm("ln2", `${block}.post_attention_layernorm`, { bias: true }) },
    };
  }
  // Combinations that have no working model in transformers.
  if (isNew) config.requireFixed({ parallel_attn: true });
  else config.requireFixed({ num_ln_in_parallel_attn: 1 });
  if (isNew && (config.nullableInteger("num_ln_in_parallel_attn", null) ?? 2) === 2) {
    return {
      residual: { residual: "parallel", parallelSharedNorm: false },
      norms: {
        ...norm("ln1", `${block}.ln_attn`, { bias: true }),
        ...norm("ln2", `${block}.ln_mlp`, { bias: true }),
      },
    };
  }
  return { residual: { residual: "parallel", parallelSharedNorm: true }, norms: input };
}
