/** What biogpt and xglm share: fairseq's pre-norm blocks, in which everything has a bias, a scaled embedding, and GELU. */
import type { ConfigReader } from "../config.ts";
import type { ModelSpec, PositionSpec } from "../spec.ts";
import { baseSpec, head, layerNorm, linear, norm, type Sizes, separateQkv, type Weights } from "./common.ts";

/** The norms have torch's default eps; the config cannot change it. */
const EPS = 1e-5;

/** `names`: of the model's tensors, the prefix; of its config, the activation's key; of a head of its own, the tensor. */
export function fairseqLike(
  config: ConfigReader,
  family: string,
  sizes: Sizes,
  positions: PositionSpec,
  names: { prefix: string; activation: string; head?: string; weights?: Weights },
): ModelSpec {
  const tied = config.boolean("tie_word_embeddings", true);
  const base = baseSpec(family, sizes, layerNorm(EPS), { tied });
  const block = `${names.prefix}.layers.{i}`;
  const bias = { bias: true };
  return {
    ...base,
    embed: { ...base.embed, scale: config.boolean("scale_embedding", true) ? Math.sqrt(sizes.dModel) : 1 },
    positions,
    mlp: { kind: "plain", activation: config.activation(names.activation, "gelu") },
    weights: {
      "embed.W_E": { tensor: `${names.prefix}.embed_tokens.weight` },
      ...names.weights,
      ...norm("ln1", `${block}.self_attn_layer_norm`, bias),
      ...separateQkv(`${block}.self_attn`, true),
      ...linear("attn.O", `${block}.self_attn.out_proj`, bias),
      ...norm("ln2", `${block}.final_layer_norm`, bias),
      ...linear("mlp.in", `${block}.fc1`, bias),
      ...linear("mlp.out", `${block}.fc2`, bias),
      ...norm("lnFinal", `${names.prefix}.layer_norm`, bias),
      ...head(tied, names.head),
    },
  };
}
