/**
 * Gemma 4: Gemma 3 with heads of another width in the layers without a window, values normed without weights, unscaled scores, and a
 * number by which each block multiplies the residual. Small ones have embeddings for each block, and their last blocks read the keys and
 * values of earlier ones.
 */
import type { ConfigReader } from "../config.ts";
import type { LayerSpec, ModelSpec, RopeSpec } from "../spec.ts";
import { type Family, linear, norm, rmsNorm, type Weights, windowedLayers, withCausality } from "./common.ts";
import { sandwichNorms } from "./gemma2.ts";
import { BLOCK, llamaLike, qkNorms } from "./llama-like.ts";
import { ropeFrom } from "./rope-config.ts";

const DEFAULTS = {
  nLayers: 30,
  dModel: 2304,
  nHeads: 8,
  nKvHeads: 4,
  dHead: 256,
  dMlp: 9216,
  vocabSize: 262144,
  maxPositions: 131072,
};

/** What holds where the config has no RoPE settings at all. */
const ROPES = {
  full_attention: { rope_type: "proportional", partial_rotary_factor: 0.25, rope_theta: 1e6 },
  sliding_attention: { rope_type: "default", rope_theta: 1e4 },
};

export const gemma4Text: Family = (config) => {
  config.requireFixed({ enable_moe_block: false, rope_scaling: undefined });
  // No null stands for a derived size here.
  for (const name of ["head_dim", "num_key_value_heads"]) config.integer(name, 1);
  const eps = config.number("rms_norm_eps", 1e-6);
  const base = llamaLike(config, "gemma4_text", DEFAULTS, {
    norm: rmsNorm(eps),
    blockNorms: sandwichNorms(),
    activation: config.activation("hidden_activation", "gelu_pytorch_tanh"),
    ropes: () => [],
    tied: true,
  });
  const types = layerTypes(config, base.nLayers);
  const layers = layersOf(config, base, types);
  const isBothWays = bothWays(config);
  const spec: ModelSpec = {
    ...base,
    embed: { ...base.embed, scale: Math.sqrt(base.dModel) },
    block: { ...base.block, norms: "sandwich", scalar: true },
    attention: {
      ...{ ...base.attention, scale: 1, qkNorm: "head" },
      vNorm: { kind: "rms", eps, weightOffset: 0, affine: false },
    },
    layers,
    ropes: ropesOf(config, base, layers, types),
    unembed: { ...base.unembed, softCap: config.nullableNumber("final_logit_softcapping", null) },
    weights: { ...base.weights, ...qkNorms(), "block.scalar": { tensor: `${BLOCK}.layer_scalar` } },
  };
  const causality = isBothWays && config.value("is_causal") === undefined ? config.set("is_causal", false) : config;
  return withCausality(causality, withLayerEmbeddings(config, spec));
};

/** The last layer has no window, whatever the config says. */
function layerTypes(config: ConfigReader, nLayers: number): string[] {
  const usual = Array.from({ length: nLayers }, (_, i) => ((i + 1) % 6 === 0 ? "full_attention" : "sliding_attention"));
  const types = config.list("layer_types", usual) as string[];
  if (types.length !== nLayers) config.refuse("layer_types", `has ${types.length} entries for ${nLayers} layers`);
  return [...types.slice(0, -1), "full_attention"];
}

/** `vision` concerns pictures alone. */
function bothWays(config: ConfigReader): boolean {
  const stated = config.nullableText("use_bidirectional_attention");
  if (stated !== undefined && stated !== "all" && stated !== "vision")
    config.refuse("use_bidirectional_attention", 'must be "all", "vision" or null');
  return stated === "all";
}

function layersOf(config: ConfigReader, { dMlp }: ModelSpec, types: readonly string[]): LayerSpec[] {
  const stated = config.integer("sliding_window", 512);
  const window = bothWays(config) ? Math.floor(stated / 2) + 1 : stated;
  const sources = keySources(config, types);
  const isWide = config.boolean("use_double_wide_mlp", false);
  const valuesFromKeys = config.boolean("attention_k_eq_v", false);
  const sizes = layerSizes(config, types);
  return windowedLayers(config.set("layer_types", types), types as string[], window, 1).map((layer, i) => {
    const keysFrom = sources[i];
    const isShared = keysFrom !== undefined;
    return {
      ...layer,
      ...sizes(i),
      ...(isShared && { keysFrom, ...(isWide && { dMlp: 2 * dMlp }) }),
      ...(!isShared && valuesFromKeys && types[i] === "full_attention" && { valuesFromKeys }),
    };
  });
}

/** For each of the last `num_kv_shared_layers` the last layer before them of its type. */
function keySources(config: ConfigReader, types: readonly string[]): (number | undefined)[] {
  const shared = wholeFrom0(config, "num_kv_shared_layers", 0);
  const own = types.slice(0, types.length - shared);
  return types.map((type, i) => {
    if (i < types.length - shared) return undefined;
    const source = own.lastIndexOf(type);
    if (source < 0) config.refuse("num_kv_shared_layers", `leaves no layer of type ${type} that has keys of its own`);
    return source;
  });
}

/** Sizes of a layer that are not the model's: by `per_layer_config`, or where that is missing for all layers without a window. */
function layerSizes(
  config: ConfigReader,
  types: readonly string[],
): (layer: number) => Pick<LayerSpec, "dHead" | "nKvHeads"> {
  if (config.value("per_layer_config") === undefined) {
    const dHead = config.integer("global_head_dim", 512);
    const kvHeads = config.boolean("attention_k_eq_v", false)
      ? config.nullableInteger("num_global_key_value_heads", null)
      : null;
    return (layer) =>
      types[layer] === "full_attention" ? { dHead, ...(kvHeads !== null && { nKvHeads: kvHeads }) } : {};
  }
  const each = config.child("per_layer_config");
  const numbers = new Map(each?.keys().map((key) => [Number(key), key]));
  for (const [layer, key] of numbers)
    if (!Number.isInteger(layer) || layer < 0 || layer >= types.length)
      each?.refuse(key, `names no layer; they go from 0 to ${types.length - 1}`);
  return (layer) => {
    const own = each?.child(numbers.get(layer) ?? "");
    if (!own) return {};
    const other = own.keys().find((key) => !["head_dim", "num_key_value_heads"].includes(key));
    if (other !== undefined) own.refuse(other, "is not supported here (head_dim and num_key_value_heads are)");
    return {
      ...(own.has("head_dim") && { dHead: own.integer("head_dim") }),
      ...(own.has("num_key_value_heads") && { nKvHeads: own.integer("num_key_value_heads") }),
    };
  };
}

/** [without a window, with one]: each over the heads of its layers, which must be as wide as each other. */
function ropesOf(
  config: ConfigReader,
  spec: ModelSpec,
  layers: readonly LayerSpec[],
  types: readonly string[],
): RopeSpec[] {
  const parameters = config.child("rope_parameters") ?? config.set("rope_parameters", ROPES).child("rope_parameters");
  const { maxPositions } = spec;
  return (["full_attention", "sliding_attention"] as const).flatMap((type) => {
    const widths = layers.flatMap(({ dHead = spec.dHead }, i) => (types[i] === type ? [dHead] : []));
    if (new Set(widths).size > 1)
      config.refuse("per_layer_config", `gives layers of type ${type} heads of ${[...new Set(widths)].join(" and ")}`);
    const settings = parameters?.child(type);
    const isUsed = widths.length > 0;
    if (isUsed && !settings) parameters?.refuse(type, "is missing");
    if (!settings) return isUsed ? [] : [unusedRope(spec.dHead)];
    // What other families take from beside these settings, this one does not.
    const isOfLength = ["llama3", "yarn", "longrope"].includes(settings.nullableText("rope_type") ?? "");
    for (const key of ["rope_theta", "rope_type", ...(isOfLength ? ["original_max_position_embeddings"] : [])])
      if (isUsed && !settings.has(key)) settings.refuse(key, "is missing");
    const [dHead = spec.dHead] = widths;
    return [ropeFrom(config, settings, { dHead, maxPositions, style: "half", theta: 1e4, partial: null })];
  });
}

/** Keeps the second RoPE the second where no layer has the first. */
const unusedRope = (dHead: number): RopeSpec => ({
  theta: 1e4,
  rotaryDim: dHead,
  style: "half",
  scaling: { kind: "none" },
});

/** Embeddings for each block, unless their width is 0. */
function withLayerEmbeddings(config: ConfigReader, spec: ModelSpec): ModelSpec {
  const width = wholeFrom0(config, "hidden_size_per_layer_input", 256);
  const vocabSize = config.integer("vocab_size_per_layer_input", 262144);
  if (width === 0) return spec;
  if (vocabSize < spec.vocabSize)
    config.refuse(
      "vocab_size_per_layer_input",
      `is less than vocab_size = ${spec.vocabSize}; some tokens would have no embedding`,
    );
  const scales = { tableScale: Math.sqrt(width), projectionScale: spec.dModel ** -0.5, scale: 2 ** -0.5 };
  const activation = config.activation("hidden_activation", "gelu_pytorch_tanh");
  return {
    ...spec,
    embed: { ...spec.embed, perLayer: { width, vocabSize, ...scales, activation } },
    weights: { ...spec.weights, ...layerEmbeddings() },
  };
}

function layerEmbeddings(): Weights {
  return {
    "embed.perLayer.W_E": { tensor: "model.embed_tokens_per_layer.weight" },
    "embed.perLayer.W_proj": { tensor: "model.per_layer_model_projection.weight" },
    ...norm("embed.perLayer.norm", "model.per_layer_projection_norm", { bias: false }),
    ...linear("perLayer.gate", `${BLOCK}.per_layer_input_gate`, { bias: false }),
    ...linear("perLayer.out", `${BLOCK}.per_layer_projection`, { bias: false }),
    ...norm("perLayer.norm", `${BLOCK}.post_per_layer_input_norm`, { bias: false }),
  };
}

/** A whole number that may be zero. */
function wholeFrom0(config: ConfigReader, key: string, fallback: number): number {
  return config.value(key) === 0 ? 0 : config.integer(key, fallback);
}
