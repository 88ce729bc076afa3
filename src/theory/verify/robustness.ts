/**
 * Claim 5: where it breaks. The error is measured for many values of beta (other positions leak in) and of the bound B that
 * stands for infinity, for weights of 16 bits (slopes keep 11 or 8 bits), and for many numbers of examples.
 */
import { buildSuperposition } from "../build.ts";
import { promptLength } from "../codes.ts";
import { TheoryError } from "../errors.ts";
import type { WeightDtype } from "../model-folder.ts";
import type { ConstructionOptions } from "../plan.ts";
import { encodePrompt } from "../prompts.ts";
import { samplePrompt } from "../sampling.ts";
import { type Claim, claim, FLOAT32_BOUND } from "./claim.ts";
import { mixedPrompts } from "./exactness.ts";
import { randomTasks, seeded } from "./random-tasks.ts";
import { type Bench, errorOf, onGpu } from "./subject.ts";

const SIZE = { d: 16, m: 10, n: 3, K: 3 };

const BETAS = [4, 8, 12, 16, 32];

const BOUNDS = [5, 10, 20];

/**
 * What weights of 16 bits may cost: slopes are rounded to 11 or 8 bits, knots (integers) are kept. The logarithm adds up
 * slopes over log(m) units and the logit as many, so the error is a few units of the last bit: 2^-11, 2^-8.
 */
const HALF_PRECISION: readonly [dtype: WeightDtype, bound: number][] = [
  ["F16", 8 * 2 ** -11],
  ["BF16", 8 * 2 ** -8],
];

export async function* verifyRobustness(bench: Bench): AsyncGenerator<Claim, void, undefined> {
  yield* verifyBeta(bench);
  yield* verifyBound(bench);
  yield* verifyDtypes(bench);
  yield* verifyLengths(bench);
  yield* verifyRefusal();
}

/** max |p - p*| over the same prompts with other constants. */
async function errorWith(bench: Bench, options: Partial<ConstructionOptions>, dtype?: WeightDtype): Promise<number> {
  const { d, m, n, K } = SIZE;
  const random = seeded(5);
  const model = buildSuperposition(randomTasks(d, n, K, random), { examples: m, ...options });
  const prompts = mixedPrompts(model, bench.grid.prompts, random);
  return onGpu(bench, model, (loaded) => errorOf(loaded, prompts), dtype);
}

async function* verifyBeta(bench: Bench): AsyncGenerator<Claim> {
  for (const beta of BETAS) {
    const error = await errorWith(bench, { beta, gamma: 2 * beta });
    const { bound, note } = betaBound(beta);
    yield claim("robustness", `beta = ${beta}, gamma = ${2 * beta}: |p - p*|`, error, "<=", bound, note);
  }
}

/**
 * The bound of docs/theory.md as a function of beta, with gamma = 2 beta: below 1/4 the match is rounded right, and what
 * is left comes from the sum's parked weight and from other positions.
 */
export function betaBound(beta: number): { bound: number; note: string } {
  const { d, m, n } = SIZE;
  const length = promptLength(m, n);
  const matchError = (length + 1) * Math.exp(-beta);
  if (matchError >= 1 / 4) return { bound: 1, note: `a match is off by up to ${matchError.toFixed(2)}: no guarantee` };
  const largestSum = 2 * (Math.ceil(d / 2) - 1);
  const derived = largestSum * (Math.exp(-beta) + length * Math.exp(-2 * beta));
  const elsewhere = 2 * length * m * Math.exp(-2 * beta);
  return { bound: Math.min(1, 2 * (derived + elsewhere)) + FLOAT32_BOUND, note: "bound of section 4" };
}

async function* verifyBound(bench: Bench): AsyncGenerator<Claim> {
  const { m, K } = SIZE;
  for (const bound of BOUNDS) {
    const error = await errorWith(bench, { bound });
    const allowed = Math.min(1, (K + 1) * m * Math.exp(-bound)) + FLOAT32_BOUND;
    yield claim("robustness", `B = ${bound}: |p - p*|`, error, "<=", allowed, "(K + 1) m e^-B");
  }
}

async function* verifyDtypes(bench: Bench): AsyncGenerator<Claim> {
  for (const [dtype, bound] of HALF_PRECISION) {
    const error = await errorWith(bench, {}, dtype);
    yield claim("robustness", `${dtype} weights: |p - p*|`, error, "<=", bound, "8 units of the last bit");
    yield claim("robustness", `${dtype} weights cost more than F32`, error, ">=", FLOAT32_BOUND, "they do matter");
  }
}

async function* verifyLengths(bench: Bench): AsyncGenerator<Claim> {
  for (const examples of bench.grid.lengths) {
    const random = seeded(examples);
    const model = buildSuperposition(randomTasks(8, 2, 2, random), { examples });
    const prompts = mixedPrompts(model, bench.grid.prompts, random);
    const error = await onGpu(bench, model, (loaded) => errorOf(loaded, prompts));
    const note = `${promptLength(examples, 2)} tokens`;
    yield claim("robustness", `m = ${examples}: |p - p*|`, error, "<=", FLOAT32_BOUND, note);
  }
}

/** Positions are learned for m examples; a prompt of any other length is refused, not answered wrongly. */
function* verifyRefusal(): Generator<Claim> {
  const { d, m, n, K } = SIZE;
  const model = buildSuperposition(randomTasks(d, n, K, seeded(5)), { examples: m });
  const refused = [m - 1, m + 1].filter((examples) => {
    const prompt = samplePrompt(model.program, examples, seeded(1));
    try {
      encodePrompt(model.program, m, prompt);
      return false;
    } catch (error) {
      return error instanceof TheoryError;
    }
  });
  yield claim("robustness", "prompts with m - 1 and m + 1 examples that are refused", refused.length, "=", 2);
}
