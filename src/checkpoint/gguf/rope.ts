/**
 * How a GGUF file states that positions are stretched: `rope.scaling.*`, or tensors by which each frequency is divided.
 * `rope_freqs.weight` is what the converter makes of Llama 3's scaling, whose settings are found again in it;
 * `rope_factors_short.weight` and `rope_factors_long.weight` are the lists of LongRoPE.
 */
import type { GgufFacts, Settings } from "./settings.ts";

/** `rope_scaling` of `config.json`. */
type RopeScaling = Readonly<Record<string, unknown>>;

/** Keys that superlens knows at llama.cpp's own value only. */
const FIXED = ["rope.scaling.yarn_ext_factor", "rope.scaling.yarn_attn_factor", "rope.scaling.attn_factor"];

/**
 * @throws ConfigError `config/unsupported`, naming the key or tensor
 */
export async function ropeScaling(
  settings: Settings,
  facts: GgufFacts,
  config: Readonly<Record<string, unknown>>,
): Promise<RopeScaling | undefined> {
  if (facts.shapes.has("rope_factors_long.weight")) return longScaling(settings, facts);
  const stated = statedScaling(settings);
  if (!facts.shapes.has("rope_freqs.weight")) return stated;
  if (stated) settings.refuse("rope.scaling.type", "rope_freqs.weight scales the same frequencies");
  const { head_dim: dHead, rope_theta: theta } = config as { head_dim: number; rope_theta: number };
  return llama3Scaling(await facts.floats("rope_freqs.weight"), dHead, theta, () =>
    settings.refuse("rope.freq_base", "rope_freqs.weight is not the scaling of Llama 3, the one that can be read"),
  );
}

function statedScaling(settings: Settings): RopeScaling | undefined {
  const older = settings.number("rope.scale_linear");
  const factor = settings.number("rope.scaling.factor") ?? older ?? 1;
  const type = settings.take("rope.scaling.type") ?? "linear";
  settings.take("rope.scaling.finetuned"); // tells how the model came to be
  const original = settings.number("rope.scaling.original_context_length");
  for (const key of FIXED) if ((settings.number(key) ?? 1) !== 1) settings.refuse(key, "only 1 can be read");
  const fast = settings.number("rope.scaling.yarn_beta_fast");
  const slow = settings.number("rope.scaling.yarn_beta_slow");
  if (type === "none") return undefined;
  if (type !== "linear" && type !== "yarn")
    settings.refuse("rope.scaling.type", "only linear and yarn can be read without LongRoPE's tensors");
  // Both say that nothing is stretched.
  if (factor === 0 || factor === 1) return undefined;
  if (type === "linear") return { rope_type: "linear", factor };
  return {
    rope_type: "yarn",
    factor,
    ...(original !== undefined && { original_max_position_embeddings: original }),
    ...(fast !== undefined && { beta_fast: fast }),
    ...(slow !== undefined && { beta_slow: slow }),
  };
}

/** The trained length must be stated: which of the two lists counts depends on it. */
async function longScaling(settings: Settings, { floats, shapes }: GgufFacts): Promise<RopeScaling> {
  const original = settings.require("rope.scaling.original_context_length");
  const type = settings.take("rope.scaling.type") ?? "longrope";
  if (type !== "longrope") settings.refuse("rope.scaling.type", "the file has the tensors of LongRoPE");
  const attention = settings.number("rope.scaling.attn_factor");
  for (const name of ["rope_factors_short.weight", "rope_factors_long.weight"])
    if (!shapes.has(name)) settings.refuse("rope.scaling.original_context_length", `the file has no tensor ${name}`);
  return {
    rope_type: "longrope",
    short_factor: [...(await floats("rope_factors_short.weight"))],
    long_factor: [...(await floats("rope_factors_long.weight"))],
    original_max_position_embeddings: original,
    ...(attention !== undefined && { attention_factor: attention }),
  };
}

/** Those of all Llama 3 models. */
const LOW = 1;
const HIGH = 4;
const LLAMA3_LENGTH = 8192;

/** The settings from which `divisors`, `[dHead / 2]`, follow; undefined where all are 1. */
function llama3Scaling(
  divisors: Float32Array,
  dHead: number,
  theta: number,
  refuse: () => never,
): RopeScaling | undefined {
  const factor = divisors.reduce((most, each) => Math.max(most, each), 0);
  const waves = Array.from(divisors, (_, i) => 2 * Math.PI * theta ** ((2 * i) / dHead));
  const fits = (length: number) =>
    divisors.every((each, i) => Math.abs(each - divisorOf(waves[i] as number, factor, length)) <= 1e-4 * each);
  const length = lengthsOf(divisors, waves, factor).find(fits);
  if (divisors.length !== dHead / 2 || length === undefined) return refuse();
  if (factor === 1) return undefined;
  const bands = { low_freq_factor: LOW, high_freq_factor: HIGH };
  return { rope_type: "llama3", factor, ...bands, original_max_position_embeddings: length };
}

/** Waves longer than the trained length are stretched by `factor`, short ones not; between the two they are mixed. */
function divisorOf(wave: number, factor: number, length: number): number {
  if (wave < length / HIGH) return 1;
  if (wave > length / LOW) return factor;
  const share = (length / wave - LOW) / (HIGH - LOW);
  return 1 / ((1 - share) / factor + share);
}

/** Trained lengths to try. A mixed wave tells it; where none is mixed, all lengths that fit give the same frequencies. */
function lengthsOf(divisors: Float32Array, waves: readonly number[], factor: number): number[] {
  const mixed = divisors.findIndex((each) => each > 1.001 && each < 0.999 * factor);
  const share = (1 / (divisors[mixed] as number) - 1 / factor) / (1 - 1 / factor);
  const told = Math.round((waves[mixed] as number) * (share * (HIGH - LOW) + LOW));
  const longestWhole = waves.filter((_, i) => divisors[i] === 1).at(-1) ?? 0;
  return mixed >= 0 ? [told] : [LLAMA3_LENGTH, Math.ceil(HIGH * longestWhole) + 1];
}
