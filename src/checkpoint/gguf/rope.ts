/**
 * How a GGUF file states that positions are stretched: `rope.scaling.*`, or a tensor `rope_freqs.weight` by which each
 * frequency is divided. The tensor is what the converter makes of Llama 3's scaling, whose settings are found again in it.
 */
import type { GgufFacts, Settings } from "./settings.ts";

/** `rope_scaling` of `config.json`. */
type RopeScaling = Readonly<Record<string, unknown>>;

/** Of YaRN: keys that superlens knows at llama.cpp's own value only. */
const YARN_FIXED: Readonly<Record<string, number>> = {
  "rope.scaling.yarn_ext_factor": 1,
  "rope.scaling.yarn_attn_factor": 1,
  "rope.scaling.attn_factor": 1,
};

/**
 * @throws ConfigError `config/unsupported`, naming the key or tensor
 */
export async function ropeScaling(
  settings: Settings,
  facts: GgufFacts,
  config: Readonly<Record<string, unknown>>,
): Promise<RopeScaling | undefined> {
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
  for (const [key, value] of Object.entries(YARN_FIXED))
    if ((settings.number(key) ?? value) !== value) settings.refuse(key, `only ${value} can be read`);
  const fast = settings.number("rope.scaling.yarn_beta_fast");
  const slow = settings.number("rope.scaling.yarn_beta_slow");
  if (type === "none") return undefined;
  if (type !== "linear" && type !== "yarn") settings.refuse("rope.scaling.type", "linear and yarn can be read");
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

/** Of all Llama 3 models: 3.1, 3.2 and 3.3. */
const LLAMA3 = { low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 };

/** The settings of which `divisors`, `[dHead / 2]`, follow; undefined where all are 1. */
function llama3Scaling(
  divisors: Float32Array,
  dHead: number,
  theta: number,
  refuse: () => never,
): RopeScaling | undefined {
  const factor = divisors.reduce((most, each) => Math.max(most, each), 0);
  const fits = divisors.length === dHead / 2 && divisors.every((each, i) => isNear(each, divisor(i)));
  if (!fits) refuse();
  return factor === 1 ? undefined : { rope_type: "llama3", factor, ...LLAMA3 };

  /** Long waves are stretched by `factor`, short ones not, and between the two the frequencies are mixed. */
  function divisor(i: number): number {
    const wave = 2 * Math.PI * theta ** ((2 * i) / dHead);
    const { low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: length } = LLAMA3;
    if (wave < length / high) return 1;
    if (wave > length / low) return factor;
    const share = (length / wave - low) / (high - low);
    return 1 / ((1 - share) / factor + share);
  }
}

const isNear = (a: number, b: number): boolean => Math.abs(a - b) <= 1e-4 * b;
