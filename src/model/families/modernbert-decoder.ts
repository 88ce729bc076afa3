/**
 * ModernBERT's decoder: a norm after the embedding and so none before the first attention, a window and a RoPE of its own in two of
 * three layers, a gated MLP packed in one matrix, and a layer with a norm before the unembedding.
 */
import type { ConfigReader } from "../config.ts";
import type { LayerSpec, ModelSpec } from "../spec.ts";
import {
  baseSpec,
  type Family,
  head,
  layerNorm,
  linear,
  norm,
  readEvenSizes,
  separateQkv,
  type Weights,
  windowedLayers,
} from "./common.ts";
import { BLOCK } from "./llama-like.ts";
import { typedRopes } from "./rope-config.ts";

const DEFAULTS = { nLayers: 22, dModel: 768, nHeads: 12, dMlp: 1152, vocabSize: 50368, maxPositions: 8192 };

export const modernbertDecoder: Family = (config) => {
  const sizes = readEvenSizes(config, DEFAULTS);
  // transformers' attention of this model has no mask then, and fails or looks one way.
  config.requireFixed({ is_causal: true });
  for (const type of ["full_attention", "sliding_attention"]) {
    const parameters = config.child("rope_parameters");
    if (parameters?.value(type) === null) parameters.refuse(type, "must be an object");
  }
  config.requireFixed({ head_dim: config.has("head_dim") ? sizes.dHead : undefined });
  const thetas = {
    full: config.number("global_rope_theta", 160000),
    sliding: config.number("local_rope_theta", 10000),
  };
  const tied = config.boolean("tie_word_embeddings", true);
  const ropes = typedRopes(config, sizes, thetas, { scalesBoth: true });
  const spec = baseSpec("modernbert-decoder", sizes, layerNorm(config.number("norm_eps", 1e-5)), { tied, ropes });
  return {
    ...spec,
    embed: { ...spec.embed, norm: true },
    mlp: { kind: "gated", activation: config.activation("hidden_activation", "gelu") },
    layers: layersOf(config, spec.nLayers),
    unembed: { ...spec.unembed, transform: { activation: config.activation("classifier_activation", "gelu") } },
    weights: weightsOf(config, sizes.dMlp, tied),
  };
};

/** Every third layer from the first on has no window. That of the others is half of `local_attention`. */
function layersOf(config: ConfigReader, nLayers: number): LayerSpec[] {
  const interval = config.integer("global_attn_every_n_layers", 3);
  const types = Array.from({ length: nLayers }, (_, i) =>
    i % interval === 0 ? "full_attention" : "sliding_attention",
  );
  const [first, ...others] = windowedLayers(config, types, windowOf(config), 1);
  return [{ ...(first as LayerSpec), attentionNorm: false }, ...others];
}

/** A `sliding_window` that is written beside it counts, as every attribute of a saved config does. */
function windowOf(config: ConfigReader): number | null {
  if (config.value("sliding_window") !== undefined) return config.nullableInteger("sliding_window", null);
  const local = config.nullableInteger("local_attention", 128);
  return local === null ? null : Math.floor(local / 2);
}

function weightsOf(config: ConfigReader, dMlp: number, tied: boolean): ModelSpec["weights"] {
  const flag = (name: string, fallback = false) => ({ bias: config.boolean(name, fallback) });
  const [inNorm, inAttention, inMlp] = [flag("norm_bias"), flag("attention_bias"), flag("mlp_bias")];
  const half = (start: number) => ({ ...inMlp, rows: { groups: 1, groupSize: 2 * dMlp, start, count: dMlp } });
  return {
    "embed.W_E": { tensor: "model.embeddings.tok_embeddings.weight" },
    ...norm("embed.norm", "model.embeddings.norm", inNorm),
    ...norm("ln1", `${BLOCK}.attn_norm`, inNorm),
    ...separateQkv(`${BLOCK}.attn`, inAttention.bias),
    ...linear("attn.O", `${BLOCK}.attn.Wo`, inAttention),
    ...norm("ln2", `${BLOCK}.mlp_norm`, inNorm),
    ...linear("mlp.gate", `${BLOCK}.mlp.Wi`, half(0)),
    ...linear("mlp.in", `${BLOCK}.mlp.Wi`, half(dMlp)),
    ...linear("mlp.out", `${BLOCK}.mlp.Wo`, inMlp),
    ...norm("lnFinal", "model.final_norm", inNorm),
    ...transformWeights(config.boolean("classifier_bias", false)),
    ...norm("unembed.ln", "lm_head.norm", inNorm),
    ...head(tied, "decoder.weight"),
    ...(config.boolean("decoder_bias", true) && { "unembed.b_U": { tensor: "decoder.bias" } }),
  };
}

function transformWeights(bias: boolean): Weights {
  return {
    "unembed.W_transform": { tensor: "lm_head.dense.weight" },
    ...(bias && { "unembed.b_transform": { tensor: "lm_head.dense.bias" } }),
  };
}
