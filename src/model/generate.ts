/**
 * Generation: a pass over the prompt, then one pass a token. Each is a single submission that ends in the choice of the
 * next token. Sequences of a batch advance together; one that has ended takes no more rows.
 */

import { abortable } from "../abort.ts";
import { InputError } from "../errors.ts";
import type { Readback } from "../gpu/readback.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import * as s from "../schema/schema.ts";
import { assertCausal } from "./causality.ts";
import { Decoder } from "./decode.ts";
import { assertIds, assertRunnable } from "./engine.ts";
import { bosFor, ENCODE_FIELDS, requireTokenizer, type TextModel, type TokenInput, toIds } from "./input.ts";
import { KvCache } from "./kv-cache.ts";
import { RandomStream, randomSeed } from "./random.ts";
import { dependsOnLength } from "./rope.ts";
import type { Runner, RunOptions } from "./runner.ts";
import {
  chosenTokens,
  recordChoice,
  recordPenalty,
  resolveSampling,
  SAMPLING_FIELDS,
  type Sampling,
  type SamplingOptions,
} from "./sampling.ts";
import { StopText } from "./stop-text.ts";

/** Why a sequence ended: an end token, a stop string, or `maxNewTokens` or the model's positions were used up. */
export type FinishReason = "eos" | "stop" | "length";

export interface GenerateOptions extends SamplingOptions {
  /** Default 100. */
  maxNewTokens?: number;
  /** End a sequence when its text contains one of these; needs a tokenizer. The stop string itself is not shown. */
  stop?: string | readonly string[];
  /** Tokens that end a sequence; default: the tokenizer's `eosIds`. */
  eos?: s.Indices;
  /** Go on after an end token. */
  ignoreEos?: boolean;
  /** Prepend BOS to text; default: what the model's tokenizer does. */
  addBos?: boolean;
  /** Continue these sequences; the input is what comes next in each. See `Model.generate` for what it holds afterwards. */
  kv?: KvCache;
  /** Token ids of what `kv` holds, for each sequence. A repetition penalty needs them. */
  history?: readonly s.NumberList[];
  /** Ends the iteration with `signal.reason`, also while a step is under way; what the GPU has begun, it finishes. */
  signal?: AbortSignal;
}

export const GENERATE_FIELDS = {
  ...SAMPLING_FIELDS,
  maxNewTokens: s.ranged("a whole number of at least 1"),
  stop: s.oneOrMore("texts", s.text),
  eos: s.indices,
  ignoreEos: s.flag,
  ...ENCODE_FIELDS,
  kv: s.instance("a KvCache, made by createKvCache()", KvCache),
  history: s.list("lists of token ids", s.list("token ids", s.wholeFrom(0))),
  signal: s.signal,
} as const satisfies s.Fields<GenerateOptions>;

/** As they are read: ids are in plain lists. */
export type CheckedGenerateOptions = Omit<s.Read<GenerateOptions>, "history"> & {
  history?: readonly (readonly number[])[];
};

export const GENERATE_OPTIONS = s.object<GenerateOptions, CheckedGenerateOptions>(
  "the options of generate",
  GENERATE_FIELDS,
);

/** One more token for every sequence that had not ended. */
export interface GenerateStep {
  /** 0 for the first token. */
  step: number;
  /** For each sequence its new token, an end token included; undefined when it had ended before. */
  tokens: (number | undefined)[];
  /**
   * For each sequence the text to show next. It lags behind the tokens while a character or a possible stop string is
   * incomplete; joined, the texts are the text of all tokens without special ones, up to the stop string.
   */
  texts: string[];
  /** The text of sequence 0. */
  text: string;
  /** For each sequence why it ended, from the step on in which it did. */
  finished: (FinishReason | undefined)[];
}

/** Which pass of a generation: the prompt's (`step` 0), or the one that feeds a token to choose token `step`. */
export interface GeneratePass {
  kind: "prompt" | "token";
  step: number;
  /** The new tokens of each sequence; none for one that has ended. */
  inputs: readonly (readonly number[])[];
  /** As it is before the pass. */
  kv: KvCache;
}

/** What looks on in a pass: the part of `RunOptions` that is about points. */
export type RunHooks = Pick<RunOptions, "hooks" | "widest" | "everyRow">;

/** How points are captured and edited while generating: called before every pass. A chunked prompt is one pass. */
export type HooksFor = (pass: GeneratePass) => RunHooks | undefined;

const DEFAULT_MAX_NEW_TOKENS = 100;
/** Cache slots made ahead for each sequence; longer generations grow the cache as they need. */
const RESERVED_TOKENS = 256;
/** Tokens of the prompt that the detokenizer sees, so that the first new token keeps its leading space. */
const TEXT_CONTEXT = 8;

/** The settings, checked and with their defaults. */
interface Plan {
  sampling: Sampling;
  maxNewTokens: number;
  stops: readonly string[];
  eos: ReadonlySet<number>;
}

/** What is known of one sequence of the batch. */
interface Sequence {
  random: RandomStream;
  text: StopText;
  /** Every token so far; kept up only for the repetition penalty. */
  seen: Set<number>;
  finished: FinishReason | undefined;
}

/** The steps of `Model.generate`, `hooksFor` says what looks at the points of each pass. */
export async function* generateSteps(
  model: Runner,
  input: TokenInput,
  options: CheckedGenerateOptions = {},
  hooksFor?: HooksFor,
): AsyncGenerator<GenerateStep> {
  assertCausal(model.spec, "Generation");
  const plan = makePlan(model, options);
  const ids = toIds(input, model, bosFor(options));
  const kv = options.kv ?? model.createKvCache({ sequences: ids.length, capacity: capacityFor(model, ids, plan) });
  let logits: Tensor | undefined;
  try {
    model.checkCache(kv, ids);
    const sequences = startSequences(model, ids, plan, options);
    logits = model.gpu.tensor([ids.length, model.spec.vocabSize], "logits");
    let inputs = ids;
    const isPlain = !hooksFor && canDecode(model, plan.sampling);
    let step = 0;
    while (step < plan.maxNewTokens && sequences.some(({ finished }) => !finished)) {
      options.signal?.throwIfAborted();
      if (isPlain && inputs.every(({ length }) => length <= 1)) {
        const run = { model, plan, sequences, kv, logits, signal: options.signal };
        for await (const result of decodeAhead(run, step, inputs)) {
          step = result.step + 1;
          inputs = nextInputs(result.tokens, sequences);
          yield result;
        }
        continue;
      }
      const pass: GeneratePass = { kind: step === 0 ? "prompt" : "token", step, inputs, kv };
      const run: RunOptions = { ...hooksFor?.(pass), kv, signal: options.signal, into: logits };
      const tokens = await nextTokens(model, inputs, sequences, plan.sampling, run);
      yield endStep(step, tokens, sequences, plan, kv);
      inputs = nextInputs(tokens, sequences);
      step += 1;
    }
  } finally {
    logits?.destroy();
    if (!options.kv) kv.destroy();
  }
}

/**
 * Token ids of a prompt that begins, checked with the settings: all that can be known of a call without weights.
 * @throws InputError as `Model.generate`
 */
export function checkGenerate(
  model: TextModel & Pick<Runner, "spec">,
  input: TokenInput,
  options: Omit<CheckedGenerateOptions, "kv">,
): number[][] {
  assertCausal(model.spec, "Generation");
  makePlan(model, options);
  const ids = toIds(input, model, bosFor(options));
  assertRunnable(model.spec, ids);
  return ids;
}

/** What the next pass reads: the newest token of each sequence that goes on. */
function nextInputs(tokens: readonly (number | undefined)[], sequences: readonly Sequence[]): number[][] {
  return tokens.map((token, index) => (token === undefined || sequences[index]?.finished ? [] : [token]));
}

/**
 * Whether tokens can be chosen without the host: a penalty needs to know those that occurred, dynamic RoPE scaling makes a table
 * for every length, and streamed weights are read for every token.
 */
function canDecode({ spec, engine }: Runner, { repetitionPenalty }: Sampling): boolean {
  return repetitionPenalty === 1 && !engine.isStreamed && !spec.ropes.some(dependsOnLength);
}

/** Tokens that one program of decoding is made for; slots are reserved for as many. */
const PROGRAM_STEPS = 128;
/**
 * Runs in flight at most. Those behind an end of text are computed for nothing, so there are few: with two the GPU has
 * the next run when one ends. Deno learns of results 12 ms late, and takes 2.2 ms a small run with eight in flight, 3.6
 * with four, 13.7 with one (lavapipe).
 */
const inFlight = (model: Runner) => (model.gpu.host.adapterInfo.host === "deno" ? 8 : 2);

interface DecodeRun {
  model: Runner;
  plan: Plan;
  sequences: readonly Sequence[];
  kv: KvCache;
  logits: Tensor;
  signal: AbortSignal | undefined;
}

/** Steps from `step` on, until a sequence ends or the program does; `inputs` holds the newest token of each sequence. */
async function* decodeAhead(
  { model, plan, sequences, kv, logits, signal }: DecodeRun,
  step: number,
  inputs: readonly (readonly number[])[],
): AsyncGenerator<GenerateStep> {
  const active = inputs.flatMap((list, index) => (list.length > 0 ? index : []));
  const room = active.map((index) => model.spec.maxPositions - (kv.lengths[index] as number));
  const decoder = await Decoder.create(model, {
    ...{ kv, logits, sequences: active, sampling: plan.sampling, signal },
    tokens: active.map((index) => inputs[index]?.[0] as number),
    // At least one, which is refused where there is no position for it.
    steps: Math.max(1, Math.min(PROGRAM_STEPS, plan.maxNewTokens - step, ...room)),
  });
  const runs: Promise<number[]>[] = [];
  const isGoing = (index: number) => sequences[index]?.finished === undefined;
  try {
    for (let at = step; ; at++) {
      while (active.every(isGoing) && decoder.canSubmit && runs.length < inFlight(model)) {
        signal?.throwIfAborted();
        const run = decoder.submit(drawsFor(plan.sampling, active, sequences));
        // It may fail while nobody waits for it yet, or for good: who does wait hears of it.
        run.catch(() => undefined);
        runs.push(run);
      }
      const oldest = runs.shift();
      const chosen = oldest && (await abortable(oldest, signal));
      if (!chosen || !active.some(isGoing)) return;
      decoder.deliver(isGoing);
      const tokens = sequences.map((_, index) => (isGoing(index) ? chosen[active.indexOf(index)] : undefined));
      yield endStep(at, tokens, sequences, plan, kv);
    }
  } finally {
    await abortable(Promise.allSettled(runs), signal).catch(() => undefined);
    decoder.destroy();
  }
}

/** A number in [0, 1) for each of the sequences; greedy needs none. */
function drawsFor({ temperature }: Sampling, active: readonly number[], sequences: readonly Sequence[]): Float32Array {
  return Float32Array.from(temperature === 0 ? [] : active, (index) => (sequences[index] as Sequence).random.next());
}

function makePlan(model: TextModel & Pick<Runner, "spec">, options: CheckedGenerateOptions): Plan {
  const { maxNewTokens = DEFAULT_MAX_NEW_TOKENS } = options;
  if (!Number.isInteger(maxNewTokens) || maxNewTokens < 1) {
    throw new InputError(
      "input/max-new-tokens",
      `maxNewTokens is ${maxNewTokens}; it must be an integer of at least 1.`,
    );
  }
  const stops = typeof options.stop === "string" ? [options.stop] : (options.stop ?? []);
  if (stops.includes(""))
    throw new InputError("input/stop", "A stop string is empty, which every text contains. Leave it out.");
  if (stops.length > 0) requireTokenizer(model, "Stop strings need text; use `eos` with token ids.");
  assertIds(model.spec, 0, options.eos ?? []);
  const eos = options.ignoreEos ? [] : (options.eos ?? model.tokenizer?.eosIds ?? []);
  return { sampling: resolveSampling(options), maxNewTokens, stops, eos: new Set(eos) };
}

function capacityFor(model: Runner, ids: readonly number[][], plan: Plan): number {
  const extra = Math.min(plan.maxNewTokens, RESERVED_TOKENS);
  return ids.reduce((sum, list) => sum + Math.min(list.length + extra, model.spec.maxPositions), 0);
}

/** @throws InputError for ids that the model does not have, for other sequences, or where no cache holds them */
function checkHistory(
  spec: Runner["spec"],
  history: NonNullable<CheckedGenerateOptions["history"]>,
  sequences: number,
  kv: KvCache | undefined,
): void {
  if (!kv) s.refuseIdle("generate", "history", "without kv: it says what kv holds");
  if (history.length !== sequences) {
    throw new InputError(
      "input/history",
      `history has ${history.length} lists for ${sequences} sequences. Give one for each.`,
    );
  }
  for (const [sequence, ids] of history.entries()) assertIds(spec, sequence, ids);
}

function startSequences(
  model: Pick<Runner, "spec" | "tokenizer">,
  ids: readonly number[][],
  plan: Plan,
  options: CheckedGenerateOptions,
): Sequence[] {
  const { kv, history, seed = randomSeed() } = options;
  if (history) checkHistory(model.spec, history, ids.length, kv);
  if (
    plan.sampling.repetitionPenalty !== 1 &&
    kv?.lengths.some((length, index) => length !== (history?.[index]?.length ?? 0))
  ) {
    const held = kv.lengths.join(", ");
    const given = history?.map((list) => list.length).join(", ") ?? "none";
    throw new InputError(
      "input/history",
      `A repetition penalty needs the tokens that the cache holds (${held}); \`history\` has ${given}. Give all of them for each sequence.`,
    );
  }
  return ids.map((list, index) => {
    const stream = model.tokenizer?.stream({ skipSpecial: true });
    for (const id of list.slice(-TEXT_CONTEXT)) stream?.push(id);
    return {
      random: RandomStream.fromSeed(seed, index),
      text: new StopText(stream, plan.stops),
      seen: new Set([...(history?.[index] ?? []), ...list]),
      finished: undefined,
    };
  });
}

/** One run over `inputs`, which is empty for a sequence that has ended; the choice of the tokens is part of it. */
async function nextTokens(
  model: Runner,
  inputs: readonly (readonly number[])[],
  sequences: readonly Sequence[],
  sampling: Sampling,
  run: RunOptions,
): Promise<(number | undefined)[]> {
  const active = inputs.flatMap((list, index) => (list.length > 0 ? index : []));
  const here = active.map((index) => sequences[index] as Sequence);
  const draws = drawsFor(sampling, active, sequences);
  const readbacks: Readback[] = [];
  const afterLogits = (recorder: Recorder, logits: Tensor) => {
    const seen = here.map((sequence) => sequence.seen);
    if (sampling.repetitionPenalty !== 1) recordPenalty(recorder, logits, seen, sampling.repetitionPenalty);
    const uploaded = draws.length > 0 ? recorder.upload(draws) : undefined;
    readbacks.push(recorder.readback(recordChoice(recorder, logits, here.length, sampling, uploaded)));
  };
  await model.run(inputs, { ...run, logits: "last", afterLogits });
  const chosen = chosenTokens((readbacks[0] as Readback).bytes, active);
  const tokens = new Array<number | undefined>(inputs.length).fill(undefined);
  active.forEach((index, row) => {
    tokens[index] = chosen[row];
  });
  return tokens;
}

/** Takes the tokens into the sequences and says what to show. */
function endStep(
  step: number,
  tokens: (number | undefined)[],
  sequences: readonly Sequence[],
  plan: Plan,
  kv: KvCache,
): GenerateStep {
  const texts = sequences.map((sequence, index) => {
    const token = tokens[index];
    if (token === undefined) return "";
    sequence.seen.add(token);
    const isEos = plan.eos.has(token);
    const { text, stopped } = isEos ? { text: "", stopped: false } : sequence.text.push(token);
    const isFull = step + 1 === plan.maxNewTokens || kv.lengths[index] === kv.store.shape.maxPositions;
    sequence.finished = isEos ? "eos" : stopped ? "stop" : isFull ? "length" : undefined;
    return sequence.finished && !stopped ? text + sequence.text.end() : text;
  });
  return { step, tokens, texts, text: texts[0] as string, finished: sequences.map(({ finished }) => finished) };
}
