/**
 * The plain model: forward passes, generation and answer probabilities. `HookedModel` in `src/hooks` adds captures, edits and
 * sweeps, through the hooks that every pass accepts.
 */
import { InputError } from "../errors.ts";
import type { Tensor } from "../gpu/tensor.ts";
import * as s from "../schema/schema.ts";
import { GENERATE_OPTIONS, type GenerateOptions, type GenerateStep, generateSteps } from "./generate.ts";
import {
  bosFor,
  isEmbeds,
  MODEL_INPUT,
  type ModelInput,
  SEQUENCE,
  type SequenceInput,
  TOKEN_INPUT,
  type TokenInput,
  toIds,
  vectorsOf,
} from "./input.ts";
import { assertFits, type KvCache } from "./kv-cache.ts";
import { ANSWERS, type AnswerLogProb, answerLogProbs, LOG_PROBS_OPTIONS, type LogProbsOptions } from "./log-probs.ts";
import type { Logits } from "./logits.ts";
import { FORWARD_FIELDS, type ForwardOptions, Runner, type RunOptions, sum } from "./runner.ts";
import type { ModelSpec } from "./spec.ts";

const FORWARD_OPTIONS = s.object<ForwardOptions>("the options of forward", FORWARD_FIELDS);

/** The plain model: `base` of what `loadModel` gives. */
export class Model extends Runner {
  /**
   * Runs the model and returns logits on the GPU; read them with `await logits.read()`, free them with `destroy()`.
   *
   * Sequences of a batch may differ in length; each gives the logits it gives alone. Long prompts run in chunks, and
   * attention never holds [head, T, T].
   * @throws InputError empty input, id out of range, longer than the context; GpuError out of memory, device lost.
   */
  async forward(input: ModelInput, options: ForwardOptions = {}): Promise<Logits> {
    const read = s.readOptions(FORWARD_OPTIONS, options, "forward");
    return this.withInput(s.readArgument(MODEL_INPUT, input, "forward", "input"), read, (ids, run) =>
      this.run(ids, run),
    );
  }

  /**
   * Generates tokens, one a step for every sequence that has not ended; greedy unless `temperature` is given. How a
   * token is chosen stands at `SamplingOptions`.
   *
   * A `kv` given in `options` holds, at any step and also after an abort or an early end, everything but the newest
   * token of each sequence: begin the next input with that token to go on.
   * @throws InputError for a bad setting or prompt; GpuError `gpu/not-finite` for NaN logits, out of memory, device
   *   lost; `signal.reason` when aborted. All at the first or the next step, not at the call.
   */
  async *generate(input: TokenInput, options: GenerateOptions = {}): AsyncGenerator<GenerateStep> {
    const read = s.readOptions(GENERATE_OPTIONS, options, "generate");
    yield* generateSteps(this, s.readArgument(TOKEN_INPUT, input, "generate", "input"), read);
  }

  /**
   * The log probability of each answer after the prompt, by the chain rule: one pass over the prompt, one over all
   * answers together. How text answers are tokenized stands at `LogProbsOptions`.
   * @throws InputError empty prompt or answer, id out of range, too long, or `input/answer-boundary`.
   */
  async logProbs(
    prompt: SequenceInput,
    answers: readonly SequenceInput[],
    options: LogProbsOptions = {},
  ): Promise<AnswerLogProb[]> {
    return answerLogProbs(
      this,
      s.readArgument(SEQUENCE, prompt, "logProbs", "prompt"),
      s.readArgument(ANSWERS, answers, "logProbs", "answers"),
      s.readOptions(LOG_PROBS_OPTIONS, options, "logProbs"),
    );
  }

  /** Resolves input and cache, calls `body`, and frees what was made for it. */
  async withInput<T>(
    input: ModelInput,
    options: ForwardOptions,
    body: (ids: number[][], run: RunOptions) => Promise<T>,
  ): Promise<T> {
    this.engine.assertAlive();
    const { ids, inputsEmbeds, startAtLayer } = this.#prepare(input, options);
    let own: KvCache | undefined;
    try {
      if (options.kv) this.checkCache(options.kv, ids);
      const before = options.kv?.lengths ?? [];
      ids.forEach((list, sequence) => {
        assertFits(this.spec, sequence, (before[sequence] ?? 0) + list.length);
      });
      own = options.kv ? undefined : this.createKvCache({ sequences: ids.length, capacity: sum(ids) });
      return await body(ids, { ...options, kv: options.kv ?? (own as KvCache), inputsEmbeds, startAtLayer });
    } finally {
      inputsEmbeds?.destroy();
      own?.destroy();
    }
  }

  #prepare(
    input: ModelInput,
    options: ForwardOptions,
  ): { ids: number[][]; inputsEmbeds?: Tensor; startAtLayer?: number | undefined } {
    if (!isEmbeds(input)) return { ids: toIds(input, this, bosFor(options)) };
    if (options.addBos)
      throw new InputError(
        "input/idle-option",
        "addBos does nothing before embeddings, which are taken as they are. Leave addBos out.",
      );
    const { vectors, startAtLayer } = vectorsOf(input);
    const name = startAtLayer === undefined ? "inputsEmbeds" : "residual";
    checkStart(this.spec, startAtLayer, options);
    const ids = this.#embedsShape(vectors, name);
    const { dModel } = this.spec;
    const packed = new Float32Array(sum(ids) * dModel);
    let at = 0;
    for (const embeds of vectors) {
      packed.set(embeds, at);
      at += embeds.length;
    }
    return { ids, startAtLayer, inputsEmbeds: this.gpu.tensorFrom(packed, [sum(ids), dModel], name) };
  }

  /** Stand-in ids (0) for embeddings, one a position. */
  #embedsShape(vectors: readonly s.NumberList[], name: string): number[][] {
    const { dModel } = this.spec;
    if (vectors.length === 0) throw new InputError("input/empty", `${name} holds no sequence. Give at least one.`);
    return vectors.map((embeds, sequence) => {
      if (embeds.length === 0 || embeds.length % dModel !== 0) {
        throw new InputError(
          "input/embeds-shape",
          `${name} of sequence ${sequence} has ${embeds.length} numbers; it must be [pos, ${dModel}] with at least one position.`,
        );
      }
      return new Array<number>(embeds.length / dModel).fill(0);
    });
  }
}

/** @throws InputError `input/start-layer` */
function checkStart({ nLayers }: ModelSpec, startAtLayer: number | undefined, { kv }: ForwardOptions): void {
  if (startAtLayer === undefined) return;
  if (startAtLayer >= nLayers)
    throw new InputError(
      "input/start-layer",
      `startAtLayer is ${startAtLayer}; the blocks go from 0 to ${nLayers - 1}. To unembed a last residual, read it through the logit lens.`,
    );
  if (kv)
    throw new InputError(
      "input/start-layer",
      `A pass from block ${startAtLayer} on leaves no keys and values of the blocks before it, so it cannot continue a cache. Leave kv out.`,
    );
}
