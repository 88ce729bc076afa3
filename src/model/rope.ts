/**
 * Rotary position embedding tables: cos and sin of position x frequency, for each scaling in `RopeSpec`.
 *
 * transformers computes frequencies and angles in float32, and at position 10,000 a last-place difference in a
 * frequency is a visible difference in an angle. So every step here is rounded to float32 (`f`) exactly where
 * transformers' tensors are, and left in float64 where it uses Python numbers. Formulas: transformers
 * `modeling_rope_utils.py`, which follows https://arxiv.org/abs/2104.09864 (RoPE) and
 * https://arxiv.org/abs/2309.00071 (YaRN).
 */
import type { RopeScaling, RopeSpec } from "./spec.ts";

const f = Math.fround;

type Scaled<Kind extends RopeScaling["kind"]> = Extract<RopeScaling, { kind: Kind }>;

/** cos and sin, each [positions, rotaryDim / 2] in row order; entry [p, j] belongs to position p and frequency j. */
export interface RopeTable {
  cos: Float32Array;
  sin: Float32Array;
}

/**
 * The table for positions 0 .. positions - 1. Dynamic scaling and LongRoPE depend on the length of the sequence, for which
 * `positions` is taken: ask for a table of exactly the sequence's length.
 */
export function ropeTable(rope: RopeSpec, positions: number): RopeTable {
  const frequencies = inverseFrequencies(rope, positions);
  const scale = f("attentionFactor" in rope.scaling ? rope.scaling.attentionFactor : 1);
  const sign = rope.reversed ? -1 : 1;
  const cos = new Float32Array(positions * frequencies.length);
  const sin = new Float32Array(positions * frequencies.length);
  let at = 0;
  for (let position = 0; position < positions; position++) {
    for (const frequency of frequencies) {
      const angle = f(position * frequency);
      cos[at] = f(Math.cos(angle)) * scale;
      sin[at] = sign * f(Math.sin(angle)) * scale;
      at++;
    }
  }
  return { cos, sin };
}

/** Radians a position, [rotaryDim / 2], for a sequence of `length` tokens (read by scalings that depend on it). */
export function inverseFrequencies({ theta, rotaryDim, scaling }: RopeSpec, length: number): Float32Array {
  switch (scaling.kind) {
    case "none":
      return plain(theta, rotaryDim);
    case "linear":
      return plain(theta, rotaryDim).map((frequency) => frequency / f(scaling.factor));
    case "dynamic":
      return plain(dynamicTheta(theta, rotaryDim, scaling, length), rotaryDim);
    case "proportional":
      return plain(theta, rotaryDim).map((frequency, j) =>
        j < Math.trunc((scaling.share * rotaryDim) / 2) ? f(frequency / f(scaling.factor)) : 0,
      );
    case "llama3":
      return plain(theta, rotaryDim).map((frequency) => llama3(frequency, scaling));
    case "yarn":
      return yarn(theta, rotaryDim, scaling);
    case "longrope":
      return longrope(theta, rotaryDim, scaling, length);
  }
}

/** theta ^ (2j / rotaryDim), the wavelength of frequency j over 2 pi. */
function periods(theta: number, rotaryDim: number): Float32Array {
  return Float32Array.from({ length: rotaryDim / 2 }, (_, j) => f(theta) ** f((2 * j) / rotaryDim));
}

function plain(theta: number, rotaryDim: number): Float32Array {
  return periods(theta, rotaryDim).map((period) => 1 / period);
}

/** Past the original length, a base that grows with the sequence ("NTK-aware"). */
function dynamicTheta(theta: number, rotaryDim: number, scaling: Scaled<"dynamic">, length: number): number {
  const { factor, originalMaxPositions } = scaling;
  if (length <= originalMaxPositions) return theta;
  const growth = f(f(f(f(factor) * length) / originalMaxPositions) - f(factor - 1));
  return f(f(theta) * f(growth ** (rotaryDim / (rotaryDim - 2))));
}

/** Long wavelengths are stretched by `factor`, short ones kept, and those between interpolated. */
function llama3(frequency: number, scaling: Scaled<"llama3">): number {
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositions } = scaling;
  const wavelength = f(f(2 * Math.PI) / frequency);
  if (wavelength > f(originalMaxPositions / lowFreqFactor)) return f(frequency / f(factor));
  if (wavelength < f(originalMaxPositions / highFreqFactor)) return frequency;
  const turns = f(originalMaxPositions / wavelength);
  const smooth = f(f(turns - f(lowFreqFactor)) / f(highFreqFactor - lowFreqFactor));
  return f(f(f(f(1 - smooth) * frequency) / f(factor)) + f(smooth * frequency));
}

function yarn(theta: number, rotaryDim: number, scaling: Scaled<"yarn">): Float32Array {
  const [low, high] = yarnRange(theta, rotaryDim, scaling);
  return periods(theta, rotaryDim).map((period, j) => {
    const ramp = Math.min(Math.max(f(f(j - f(low)) / f(high - low)), 0), 1);
    const kept = f(1 - ramp);
    const interpolated = f(1 / f(f(scaling.factor) * period));
    return f(f(interpolated * f(1 - kept)) + f(f(1 / period) * kept));
  });
}

/** Between these frequency indices YaRN passes from keeping a frequency to dividing it by `factor`. */
function yarnRange(theta: number, rotaryDim: number, scaling: Scaled<"yarn">): [low: number, high: number] {
  const { betaFast, betaSlow, originalMaxPositions, truncate } = scaling;
  const indexOfTurns = (turns: number) =>
    (rotaryDim * Math.log(originalMaxPositions / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const first = indexOfTurns(betaFast);
  const last = indexOfTurns(betaSlow);
  const low = Math.max(truncate ? Math.floor(first) : first, 0);
  const high = Math.min(truncate ? Math.ceil(last) : last, rotaryDim - 1);
  return [low, low === high ? high + 0.001 : high];
}

/** LongRoPE (https://arxiv.org/abs/2402.13753): a divisor for each frequency, found by search for short sequences and for long ones. */
function longrope(theta: number, rotaryDim: number, scaling: Scaled<"longrope">, length: number): Float32Array {
  const { shortFactors, longFactors, originalMaxPositions } = scaling;
  const factors = length > originalMaxPositions ? longFactors : shortFactors;
  return periods(theta, rotaryDim).map((period, j) => f(1 / f(f(factors[j] as number) * period)));
}

/** Whether the angles of a position depend on the length of its sequence. */
export function dependsOnLength({ scaling }: RopeSpec): boolean {
  return scaling.kind === "dynamic" || scaling.kind === "longrope";
}
