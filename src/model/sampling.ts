/**
 * From logits to the next token: the GPU filters the distribution and draws from it, and four bytes a sequence are read back.
 */
import { GpuError, InputError } from "../errors.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { foldGrid } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import * as kernels from "../kernels/definitions.ts";
import { elementGrid, reduceConstants } from "../kernels/launch.ts";
import { rowBlocks } from "../kernels/row-blocks.ts";
import { packedView } from "../kernels/view.ts";
import * as s from "../schema/schema.ts";

/**
 * How the next token is chosen. The steps and their order are those of Hugging Face's `generate`
 * (transformers, `generation/logits_process.py`), for logits x [vocab] of one sequence:
 *
 * 1. `repetitionPenalty` r: for each token that occurs in the prompt or in what was generated, once whatever the number
 *    of occurrences, x becomes x / r when x >= 0 and x * r when x < 0.
 * 2. `temperature` T: x becomes x / T. At T = 0 the token with the largest x is taken, the lowest id of equal ones,
 *    and the rest of this list does nothing.
 * 3. `topK` k: keeps x >= the k-th largest x. Tokens equal to the k-th largest are all kept.
 * 4. `topP` p: with probabilities q = softmax of what is kept so far, keeps a token when the tokens with a larger x have
 *    q summing to less than p. Tokens of equal x are kept or dropped together; Hugging Face keeps as many of them as it
 *    needs, in the order of its sort.
 * 5. `minP` m: keeps q >= m * the largest q.
 * 6. The token is drawn from the softmax of what is left. The most probable token always is.
 *
 * Computed in float32, as there; a token within rounding of a threshold may fall on either side.
 *
 * `topK`, `topP`, `minP` and `seed` are for sampling, so they are refused without a `temperature`: 1 samples from the
 * model's own distribution, as transformers does with `do_sample`. A temperature of 0 that is given is a choice, the limit
 * of small ones, and goes with all of them.
 */
export interface SamplingOptions {
  /** 0 or absent: greedy. Needed by `topK`, `topP`, `minP` and `seed`. */
  temperature?: number;
  /** Integer; 0 or absent: off. */
  topK?: number;
  /** 0 to 1; 1 or absent: off. At 0 only the most probable token is left. */
  topP?: number;
  /** 0 to 1; 0 or absent: off. */
  minP?: number;
  /** Above 0; 1 or absent: off. */
  repetitionPenalty?: number;
  /** Integer. The same seed gives the same tokens; without one each call draws anew. */
  seed?: number;
}

export type Sampling = Required<Omit<SamplingOptions, "seed">>;

export const SAMPLING_FIELDS = {
  temperature: s.ranged("a number of at least 0"),
  topK: s.ranged("a whole number of at least 0"),
  topP: s.ranged("a number from 0 to 1"),
  minP: s.ranged("a number from 0 to 1"),
  repetitionPenalty: s.ranged("a number above 0"),
  seed: s.ranged("a whole number"),
} as const satisfies s.Fields<SamplingOptions>;

/** What each setting is when it is off, and whether a value is in its range. */
const SETTINGS: Record<keyof Sampling, { off: number; ok: (value: number) => boolean }> = {
  temperature: { off: 0, ok: (value) => value >= 0 && Number.isFinite(value) },
  topK: { off: 0, ok: (value) => Number.isInteger(value) && value >= 0 },
  topP: { off: 1, ok: (value) => value >= 0 && value <= 1 },
  minP: { off: 0, ok: (value) => value >= 0 && value <= 1 },
  repetitionPenalty: { off: 1, ok: (value) => value > 0 && Number.isFinite(value) },
};

/**
 * The settings with defaults filled in.
 * @throws InputError `input/sampling` naming the setting that is out of range, or that does nothing without a temperature.
 */
export function resolveSampling(options: SamplingOptions): Sampling {
  const resolved = {} as Sampling;
  for (const [name, { off, ok }] of Object.entries(SETTINGS) as [keyof Sampling, (typeof SETTINGS)["topK"]][]) {
    const value = options[name] ?? off;
    if (!ok(value))
      throw new InputError("input/sampling", `${name} is ${value}; it must be ${SAMPLING_FIELDS[name].takes}.`);
    resolved[name] = value;
  }
  if (options.seed !== undefined && !Number.isSafeInteger(options.seed)) {
    throw new InputError("input/sampling", `seed is ${options.seed}; it must be an integer.`);
  }
  if (options.temperature === undefined) refuseIdle(resolved, options.seed);
  return resolved;
}

/** Settings of sampling are refused if nothing is sampled. */
function refuseIdle(sampling: Sampling, seed: number | undefined): void {
  const filters = ["topK", "topP", "minP"] as const;
  const idle: string[] = filters.filter((name) => sampling[name] !== SETTINGS[name].off);
  if (seed !== undefined) idle.push("seed");
  if (idle.length === 0) return;
  throw new InputError(
    "input/sampling",
    `${idle.join(" and ")} ${idle.length === 1 ? "does" : "do"} nothing without a temperature: tokens are chosen greedily. Give temperature (1: the model's own probabilities), or leave ${idle.join(" and ")} out.`,
  );
}

/** Records the repetition penalty on logits [rows, vocab], in place; `seen[r]` holds the tokens that occurred in row r. */
export function recordPenalty(
  recorder: Recorder,
  logits: Tensor,
  seen: readonly ReadonlySet<number>[],
  penalty: number,
): void {
  const vocab = logits.shape[1] as number;
  for (const { first, rows, slice } of rowBlocks(recorder.gpu, packedView(logits, vocab), seen.length)) {
    const elements = seen
      .slice(first, first + rows)
      .flatMap((tokens, row) => [...tokens].map((token) => row * vocab + token));
    if (elements.length === 0) continue;
    recorder.dispatch(kernels.SAMPLE_PENALTY, {
      params: { count: elements.length, penalty },
      buffers: { seen: recorder.upload(Uint32Array.from(elements)), logits: slice },
      workgroups: elementGrid(recorder, elements.length),
    });
  }
}

/**
 * Records the choice of a token for each of the first `rows` rows of logits [.., vocab]; the penalty is already applied.
 * `draws` holds a number in [0, 1) a row; greedy needs none. Returns `tokens`, with a u32 a row: see `chosenTokens`.
 */
export function recordChoice(
  recorder: Recorder,
  logits: Tensor,
  rows: number,
  sampling: Sampling,
  draws: Tensor | undefined,
  tokens: Tensor = recorder.temp(rows),
): Tensor {
  const vocab = logits.shape[1] as number;
  const { topK, topP, minP, temperature } = sampling;
  for (const block of rowBlocks(recorder.gpu, packedView(logits, vocab), rows)) {
    const params = { rowCount: block.rows, firstRow: block.first, vocab };
    const workgroups = foldGrid(recorder.gpu, block.rows);
    if (sampling.temperature === 0 || !draws) {
      const constants = reduceConstants(recorder);
      recorder.dispatch(kernels.ARGMAX, { params, buffers: { logits: block.slice, tokens }, workgroups, constants });
    } else {
      recorder.dispatch(kernels.SAMPLE, {
        params: { ...params, topK: Math.min(topK, vocab), topP, minP, temperature },
        buffers: { logits: block.slice, uniforms: draws, tokens },
        workgroups,
      });
    }
  }
  return tokens;
}

/** What the kernels write when the largest logit is NaN or infinite. */
const NOT_A_TOKEN = 0xffffffff;

/**
 * The token ids in what `recordChoice` wrote.
 * @throws GpuError `gpu/not-finite` when a row had no largest logit; `sequences[r]` names the sequence of row r.
 */
export function chosenTokens(bytes: ArrayBuffer, sequences: readonly number[]): number[] {
  const tokens = [...new Uint32Array(bytes)];
  const bad = tokens.indexOf(NOT_A_TOKEN);
  if (bad < 0) return tokens;
  throw new GpuError(
    "gpu/not-finite",
    `The logits of sequence ${sequences[bad]} are NaN or infinite, so no token can be chosen. Load the model with checkFinite to find weights that are not finite.`,
  );
}
