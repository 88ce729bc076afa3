/**
 * Turns a config's RoPE settings into a `RopeSpec`: `rope_parameters` (transformers 5), or `rope_theta` with `rope_scaling`
 * (before). Formulas and defaults follow transformers' `modeling_rope_utils.py`. A scaling that is not in the table
 * below is refused: a model whose RoPE is slightly wrong still writes fluent text. Keys that the type does not read change
 * nothing.
 */
import { isObject } from "../../checkpoint/json.ts";
import type { ConfigReader } from "../config.ts";
import type { RopeScaling, RopeSpec } from "../spec.ts";

export interface RopeDefaults {
  dHead: number;
  maxPositions: number;
  style: RopeSpec["style"];
  /** The family's theta when the config has none. */
  theta: number;
  /** Name of theta outside `rope_parameters`; `rope_theta` when absent. */
  thetaName?: string;
  /** The family's share of each head that rotates; null when the family always rotates whole heads. */
  partial: number | null;
  /** Name of the share outside `rope_parameters`; `partial_rotary_factor` when absent. */
  partialName?: string;
  /** Other names of types: those that older configs of the family have. */
  aliases?: Readonly<Record<string, string>>;
  /** The length that the model was trained at, where the config does not say; the longest that it takes when absent. */
  originalMaxPositions?: number;
  /** The scalings transformers accepts for this family; all of them when absent. */
  kinds?: readonly RopeScaling["kind"][];
}

/** The scaling's own settings, and the length the model was trained at. */
interface ScalingInput {
  settings: ConfigReader;
  /** Of a head, the part that rotates. */
  share: number;
  originalMaxPositions: number;
  maxPositions: number;
}

interface ScalingKind {
  kind: RopeScaling["kind"];
  read: (input: ScalingInput) => RopeScaling;
}

const SCALINGS = new Map<string, ScalingKind>([
  ["default", { kind: "none", read: () => ({ kind: "none" }) }],
  ["linear", { kind: "linear", read: ({ settings }) => ({ kind: "linear", factor: settings.number("factor") }) }],
  ["dynamic", { kind: "dynamic", read: readDynamic }],
  ["proportional", { kind: "proportional", read: readProportional }],
  ["llama3", { kind: "llama3", read: readLlama3 }],
  ["yarn", { kind: "yarn", read: readYarn }],
  ["longrope", { kind: "longrope", read: readLongrope }],
]);

/** Scalings of families that cut the rotating part out of a head, in which transformers' table for whole heads does not fit. */
export const PARTIAL_HEAD_KINDS: readonly RopeScaling["kind"][] = ["none", "linear", "dynamic", "llama3", "yarn"];

/** Growth is measured against max_position_embeddings, whatever the original length says. */
function readDynamic({ settings, maxPositions }: ScalingInput): RopeScaling {
  return { kind: "dynamic", factor: settings.number("factor"), originalMaxPositions: maxPositions };
}

function readProportional({ settings, share }: ScalingInput): RopeScaling {
  return { kind: "proportional", factor: settings.number("factor", 1), share };
}

function readLlama3({ settings, originalMaxPositions }: ScalingInput): RopeScaling {
  return {
    kind: "llama3",
    factor: settings.number("factor"),
    lowFreqFactor: settings.number("low_freq_factor"),
    highFreqFactor: settings.number("high_freq_factor"),
    originalMaxPositions,
  };
}

function readYarn({ settings, originalMaxPositions, maxPositions }: ScalingInput): RopeScaling {
  // What is null is taken for missing, as Python takes it.
  const optional = (key: string) => settings.nullableNumber(key, null);
  const factor = settings.number("factor", maxPositions / originalMaxPositions);
  const mscale = optional("mscale") ?? 0;
  const mscaleAllDim = optional("mscale_all_dim") ?? 0;
  const inferred =
    mscale !== 0 && mscaleAllDim !== 0
      ? yarnScale(factor, mscale) / yarnScale(factor, mscaleAllDim)
      : yarnScale(factor, 1);
  return {
    kind: "yarn",
    factor,
    originalMaxPositions,
    // transformers takes 0 for "use the default", too.
    betaFast: optional("beta_fast") || 32,
    betaSlow: optional("beta_slow") || 1,
    attentionFactor: optional("attention_factor") ?? inferred,
    truncate: settings.boolean("truncate", true),
  };
}

function readLongrope({ settings, originalMaxPositions, maxPositions }: ScalingInput): RopeScaling {
  const factor = settings.nullableNumber("factor", null) ?? maxPositions / originalMaxPositions;
  const inferred = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalMaxPositions));
  return {
    kind: "longrope",
    shortFactors: settings.numbers("short_factor"),
    longFactors: settings.numbers("long_factor"),
    originalMaxPositions,
    attentionFactor: settings.nullableNumber("attention_factor", null) ?? inferred,
  };
}

/** YaRN's temperature, 0.1 m ln(s) + 1 (https://arxiv.org/abs/2309.00071, section 3.4). */
function yarnScale(factor: number, mscale: number): number {
  return factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1;
}

/** Where a config has the settings of its one RoPE. Of the two spellings the older one holds, as in transformers. */
function settingsOf(config: ConfigReader): ConfigReader | undefined {
  const older = config.child("rope_scaling");
  return older && older.keys().length > 0 ? older : config.child("rope_parameters");
}

/**
 * What a scaling multiplies scores by, beside what it does to cos and sin: YaRN's temperature for `mscale_all_dim`, once for queries
 * and once for keys (deepseek). transformers reads it of any type but the default one.
 */
export function scoreScale(config: ConfigReader): number {
  const settings = settingsOf(config);
  const type = settings?.text(settings.has("rope_type") ? "rope_type" : "type", "default") ?? "default";
  const mscale = type === "default" ? 0 : (settings?.nullableNumber("mscale_all_dim", 0) ?? 0);
  return settings === undefined || mscale === 0 ? 1 : yarnScale(settings.number("factor"), mscale) ** 2;
}

/** The RoPE of a model whose layers all share one. */
export function readRope(config: ConfigReader, defaults: RopeDefaults): RopeSpec {
  const settings = settingsOf(config);
  const nested = settings?.keys().find((key) => isObject(settings.value(key)));
  if (nested !== undefined) settings?.refuse(nested, "belongs to families with several RoPEs; this one has one");
  return ropeFrom(config, settings ?? config.empty("rope_parameters"), {
    ...defaults,
    theta: config.number(defaults.thetaName ?? "rope_theta", defaults.theta),
  });
}

/**
 * [full attention, window]: the RoPEs of two kinds of layers, from `rope_parameters` by layer type. `rope_scaling`, the older key,
 * changes the first of the two, or with `scalesBoth` both; what stands in `rope_parameters` beside the types changes nothing.
 */
export function typedRopes(
  config: ConfigReader,
  { dHead, maxPositions }: Pick<RopeDefaults, "dHead" | "maxPositions">,
  thetas: { full: number; sliding: number },
  { scalesBoth = false } = {},
): RopeSpec[] {
  const parameters = config.child("rope_parameters");
  const none = config.empty("rope_parameters");
  const defaults = { dHead, maxPositions, style: "half" as const, partial: null };
  const full = (parameters?.child("full_attention") ?? none).with(config.child("rope_scaling"));
  const sliding = (parameters?.child("sliding_attention") ?? none).with(
    scalesBoth ? config.child("rope_scaling") : undefined,
  );
  return [
    ropeFrom(config, full, { ...defaults, theta: thetas.full }),
    ropeFrom(config, sliding, { ...defaults, theta: thetas.sliding }),
  ];
}

/** One RoPE from its own settings; `defaults.theta` holds when they have none. */
export function ropeFrom(config: ConfigReader, settings: ConfigReader, defaults: RopeDefaults): RopeSpec {
  const typeKey = settings.has("rope_type") ? "rope_type" : "type";
  const type = settings.text(typeKey, "default");
  const scaling = SCALINGS.get(defaults.aliases?.[type] ?? type);
  const kinds = defaults.kinds ?? [...SCALINGS.values()].map(({ kind }) => kind);
  if (!scaling || !kinds.includes(scaling.kind)) {
    const supported = [...SCALINGS].filter(([, { kind }]) => kinds.includes(kind)).map(([name]) => name);
    settings.refuse(typeKey, `is not a supported RoPE scaling here (supported: ${supported.join(", ")})`);
  }
  const { maxPositions } = defaults;
  const originalMaxPositions = config.integer(
    "original_max_position_embeddings",
    settings.integer("original_max_position_embeddings", defaults.originalMaxPositions ?? maxPositions),
  );
  const share = readShare(config, settings, defaults);
  return {
    theta: settings.number("rope_theta", defaults.theta),
    rotaryDim: rotaryDim(defaults, share, scaling.kind),
    style: defaults.style,
    scaling: scaling.read({ settings, share: share.factor, originalMaxPositions, maxPositions }),
  };
}

/** The share of a head that rotates, and where the config says so. */
interface Share {
  factor: number;
  holder: ConfigReader;
  key: string;
}

/** The share stands among the RoPE settings, or else beside them. */
function readShare(config: ConfigReader, settings: ConfigReader, defaults: RopeDefaults): Share {
  const own = "partial_rotary_factor";
  const [holder, key] = settings.has(own) ? [settings, own] : [config, defaults.partialName ?? own];
  return { factor: holder.nullableNumber(key, null) ?? defaults.partial ?? 1, holder, key };
}

/**
 * How many dimensions of a head rotate; all where the scaling itself takes the share. Families that always rotate whole heads
 * take no notice of the share where nothing is scaled; with a scaling transformers makes a table that does not fit their heads, so
 * that there it is refused.
 */
function rotaryDim({ dHead, partial }: RopeDefaults, share: Share, kind: RopeScaling["kind"]): number {
  if (kind === "proportional" || (partial === null && kind === "none")) return dHead;
  const { factor, holder, key } = share;
  if (partial === null && factor !== 1)
    holder.refuse(key, "is not supported in this family with a scaling (only 1 is)");
  const rotary = Math.trunc(dHead * factor);
  if (rotary < 2 || rotary > dHead || rotary % 2 !== 0) {
    holder.refuse(key, `rotates ${rotary} of the head's ${dHead} dimensions; the number must be even`);
  }
  return rotary;
}

/**
 * The longest sequence a model takes. Dynamic and YaRN scaling stretch the trained length by their factor, and
 * configs in use state either the trained or the stretched length as `max_position_embeddings`.
 */
export function stretchedMaxPositions(maxPositions: number, ropes: RopeSpec[]): number {
  const stretched = ropes.map(({ scaling }) =>
    scaling.kind === "dynamic" || scaling.kind === "yarn"
      ? Math.floor(scaling.factor * scaling.originalMaxPositions)
      : maxPositions,
  );
  return Math.max(maxPositions, ...stretched);
}
