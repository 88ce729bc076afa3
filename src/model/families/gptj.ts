/** GPT-J: attention and MLP in parallel behind one norm, interleaved RoPE on part of each head, a biased head. */
import type { ConfigReader } from "../config.ts";
import type { ModelSpec, RopeSpec } from "../spec.ts";
import {
  baseSpec,
  type Family,
  head,
  layerNorm,
  linear,
  norm,
  readEvenSizes,
  type SizeDefaults,
  separateQkv,
} from "./common.ts";
import { GPT2_NAMES } from "./gpt2.ts";

const DEFAULTS = { nLayers: 28, dModel: 4096, nHeads: 16, vocabSize: 50400, maxPositions: 2048 };

export const gptj: Family = (config) => gptjLike(config, "gptj", DEFAULTS);

/** What GPT-J and CodeGen share. */
export function gptjLike(config: ConfigReader, family: string, defaults: SizeDefaults): ModelSpec {
  const sizes = readEvenSizes(config, defaults, GPT2_NAMES);
  const tied = config.boolean("tie_word_embeddings", false);
  const rotaryDim = config.nullableInteger("rotary_dim", 64);
  if (rotaryDim === null) return config.refuse("rotary_dim", "is not supported; it must be an even number");
  const ropes: RopeSpec[] = [{ theta: 10000, rotaryDim, style: "interleaved", scaling: { kind: "none" } }];
  const base = baseSpec(family, sizes, layerNorm(config.number("layer_norm_epsilon", 1e-5)), { tied, ropes });
  const block = "transformer.h.{i}";
  return {
    ...base,
    block: { ...base.block, residual: "parallel", parallelSharedNorm: true },
    mlp: { kind: "plain", activation: config.activation("activation_function", "gelu_new") },
    weights: {
      "embed.W_E": { tensor: "transformer.wte.weight" },
      ...norm("ln1", `${block}.ln_1`, { bias: true }),
      ...separateQkv(`${block}.attn`, false),
      ...linear("attn.O", `${block}.attn.out_proj`, { bias: false }),
      ...linear("mlp.in", `${block}.mlp.fc_in`, { bias: true }),
      ...linear("mlp.out", `${block}.mlp.fc_out`, { bias: true }),
      ...norm("lnFinal", "transformer.ln_f", { bias: true }),
      ...head(tied),
      "unembed.b_U": { tensor: "lm_head.bias" },
    },
  };
}
