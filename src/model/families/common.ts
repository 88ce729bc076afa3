/**
 * The pieces of families: sizes, norms, layers, and the names of weights in a checkpoint. A family file puts these pieces
 * together and says where its model differs from `baseSpec`.
 */
import { type ConfigReader, SIZE_NAMES, type SizeNames } from "../config.ts";
import type { LayerSpec, ModelSpec, NormSpec, RopeSpec, TensorSource, WeightName } from "../spec.ts";
import { stretchedMaxPositions } from "./rope-config.ts";

/** A family: a config to a spec, and nothing else. */
export type Family = (config: ConfigReader) => ModelSpec;

export type Weights = ModelSpec["weights"];

/** The numbers every family has. */
export type Sizes = Pick<ModelSpec, keyof SizeNames>;

/**
 * The sizes of transformers' default config for a family. Of those that may be left out: key-value heads are as many as
 * query heads, a head is dModel / nHeads wide, and the MLP 4 dModel.
 */
export type SizeDefaults = Omit<Sizes, Derived> & Partial<Pick<Sizes, Derived>>;
type Derived = "nKvHeads" | "dHead" | "dMlp";

/** More are a damaged config, and would fill the memory with descriptions of layers. */
const MOST_LAYERS = 10_000;

/** Reads the sizes. A null stands for what the family would derive: as many key-value heads as heads, and so on. */
export function readSizes(config: ConfigReader, defaults: SizeDefaults, names: SizeNames = SIZE_NAMES): Sizes {
  const size = (name: Exclude<keyof Sizes, Derived>) => config.integer(names[name], defaults[name]);
  const derived = (name: Derived) => config.nullableInteger(names[name], defaults[name] ?? null);
  const [dModel, nLayers, nHeads] = [size("dModel"), size("nLayers"), size("nHeads")];
  if (nLayers > MOST_LAYERS) config.refuse(names.nLayers[0] as string, `is more than ${MOST_LAYERS} layers`);
  const dHead = derived("dHead");
  if (dHead === null && dModel % nHeads !== 0) {
    const key = names.dModel.find((name) => config.has(name)) ?? (names.dModel[0] as string);
    config.refuse(key, `cannot be shared evenly by ${nHeads} heads; change it or set head_dim`);
  }
  return {
    ...{ nLayers, dModel, nHeads },
    nKvHeads: derived("nKvHeads") ?? nHeads,
    dHead: dHead ?? dModel / nHeads,
    dMlp: derived("dMlp") ?? 4 * dModel,
    vocabSize: size("vocabSize"),
    maxPositions: size("maxPositions"),
  };
}

/** Sizes of the older families, whose heads always share dModel evenly and have their own keys and values. */
export function readEvenSizes(config: ConfigReader, defaults: SizeDefaults, names = SIZE_NAMES): Sizes {
  return readSizes(config, defaults, { ...names, nKvHeads: [], dHead: [] });
}

export const layerNorm = (eps: number): NormSpec => ({ kind: "layer", eps, weightOffset: 0 });
export const rmsNorm = (eps: number, weightOffset = 0): NormSpec => ({ kind: "rms", eps, weightOffset });

/** `nLayers` layers alike. */
export function uniformLayers({ nLayers }: Pick<Sizes, "nLayers">, layer: LayerSpec): LayerSpec[] {
  return Array.from({ length: nLayers }, () => ({ ...layer }));
}

/**
 * A plain decoder: sequential pre-norm blocks, full attention scaled by 1 / sqrt(dHead), the first of `ropes` in every layer
 * or else no positions. Families spread it and override what differs.
 */
export function baseSpec(
  family: string,
  sizes: Sizes,
  norm: NormSpec,
  { tied, ropes = [] }: { tied: boolean; ropes?: RopeSpec[] },
): Omit<ModelSpec, "mlp" | "weights"> {
  return {
    family,
    ...sizes,
    maxPositions: stretchedMaxPositions(sizes.maxPositions, ropes),
    embed: { scale: 1, norm: false },
    positions: { kind: "none" },
    norm,
    block: { norms: "pre", residual: "sequential", parallelSharedNorm: false, residualScale: 1 },
    attention: { scale: 1 / Math.sqrt(sizes.dHead), softCap: null, qkNorm: "none", qkNormSpec: norm },
    layers: uniformLayers(sizes, { window: null, rope: ropes.length > 0 ? 0 : null }),
    ropes,
    unembed: { tied, scale: 1, softCap: null },
  };
}

/** Settings of any family that would change the computation, at the one value that is supported. */
export const FIXED_EVERYWHERE = {
  is_encoder_decoder: false,
  quantization_config: undefined,
  pruned_heads: {},
};

/** `is_causal: false` makes attention look both ways, and a window then has a key more on either side. */
export function withCausality(config: ConfigReader, spec: ModelSpec): ModelSpec {
  if (config.nullableBoolean("is_causal", true)) return spec;
  return {
    ...spec,
    attention: { ...spec.attention, causal: false },
    layers: spec.layers.map((layer) => ({ ...layer, window: layer.window === null ? null : layer.window + 1 })),
  };
}

type Matrix =
  | `attn.${"Q" | "K" | "V" | "O" | "DQ" | "UQ" | "DKV" | "UK" | "UV" | "KR"}`
  | `mlp.${"gate" | "in" | "out"}`
  | `perLayer.${"gate" | "out"}`;
type Norm =
  | "ln1"
  | "ln1Post"
  | "ln2"
  | "ln2Post"
  | "lnFinal"
  | "embed.norm"
  | "unembed.ln"
  | "embed.perLayer.norm"
  | "perLayer.norm"
  | `attn.${"q" | "k" | "qLatent" | "kvLatent"}Norm`;

export interface LinearOptions {
  transpose?: boolean | undefined;
  rows?: TensorSource["rows"] | undefined;
  bias: boolean;
}

/** A linear layer: `module.weight` as `attn.W_Q` and, with `bias`, `module.bias` as `attn.b_Q`. */
export function linear(name: Matrix, module: string, { bias, transpose, rows }: LinearOptions): Weights {
  const [room, part] = name.split(".") as [string, string];
  const cut = rows ? { rows } : {};
  const weights: Weights = {
    [`${room}.W_${part}` as WeightName]: { tensor: `${module}.weight`, ...(transpose ? { transpose } : {}), ...cut },
  };
  if (bias) weights[`${room}.b_${part}` as WeightName] = { tensor: `${module}.bias`, ...cut };
  return weights;
}

/** A norm: `module.weight` as `ln1.w` and, with `bias`, `module.bias` as `ln1.b`. */
export function norm(name: Norm, module: string, { bias }: { bias: boolean }): Weights {
  const weights: Weights = { [`${name}.w` as WeightName]: { tensor: `${module}.weight` } };
  if (bias) weights[`${name}.b` as WeightName] = { tensor: `${module}.bias` };
  return weights;
}

/** The unembedding's own matrix; nothing when it is tied to the embedding. */
export function head(tied: boolean, tensor = "lm_head.weight"): Weights {
  return tied ? {} : { "unembed.W_U": { tensor } };
}

/** Queries, keys and values packed one after another in one tensor: [q; k; v], once in each of `groups` groups. */
export function packedQkv(
  module: string,
  parts: { groups: number; q: number; k: number; v: number },
  options: Omit<LinearOptions, "rows">,
): Weights {
  const { groups, q, k, v } = parts;
  const groupSize = q + k + v;
  return {
    ...linear("attn.Q", module, { ...options, rows: { groups, groupSize, start: 0, count: q } }),
    ...linear("attn.K", module, { ...options, rows: { groups, groupSize, start: q, count: k } }),
    ...linear("attn.V", module, { ...options, rows: { groups, groupSize, start: q + k, count: v } }),
  };
}

/** Queries, keys and values in tensors of their own: `module.q_proj`, `module.k_proj` and `module.v_proj`. */
export function separateQkv(module: string, bias: boolean): Weights {
  return {
    ...linear("attn.Q", `${module}.q_proj`, { bias }),
    ...linear("attn.K", `${module}.k_proj`, { bias }),
    ...linear("attn.V", `${module}.v_proj`, { bias }),
  };
}

/** Layers with a window and without, as `layer_types` or else `defaults` name them. Those with one may have a RoPE of their own. */
export function windowedLayers(
  config: ConfigReader,
  defaults: string[],
  window: number | null,
  windowRope = 0,
): LayerSpec[] {
  const types = config.list("layer_types", defaults);
  if (types.length !== defaults.length) {
    config.refuse("layer_types", `has ${types.length} entries for ${defaults.length} layers`);
  }
  return types.map((type) => {
    if (type === "full_attention") return { window: null, rope: 0 };
    if (type !== "sliding_attention") {
      config.refuse("layer_types", `has an unsupported entry (supported: full_attention, sliding_attention)`);
    }
    if (window === null) config.refuse("layer_types", "has sliding_attention, but sliding_window is off");
    return { window, rope: windowRope };
  });
}
