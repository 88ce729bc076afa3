/**
 * A loaded model: forward passes, caches, generation and answer probabilities.
 *
 * This is the plain model. `HookedModel` in `src/hooks` extends it with captures, edits and sweeps, through the hooks
 * that every pass accepts.
 */
import { type ConfigError, InputError } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { PassHooks } from "../ops/bindings.ts";
import type { RowTable } from "../ops/rows.ts";
import * as s from "../schema/schema.ts";
import type { Tokenizer } from "../tokenizer/index.ts";
import { assertWhole, passesOf } from "./causality.ts";
import { Engine } from "./engine.ts";
import { GENERATE_OPTIONS, type GenerateOptions, type GenerateStep, generateSteps } from "./generate.ts";
import {
  bosFor,
  type EmbedsInput,
  ENCODE_FIELDS,
  ENCODE_OPTIONS,
  type EncodeInputOptions,
  isEmbeds,
  MODEL_INPUT,
  type ModelInput,
  requireTokenizer,
  SEQUENCE,
  type SequenceInput,
  TOKEN_INPUT,
  type TokenInput,
  toIds,
} from "./input.ts";
import { assertFits, KvCache } from "./kv-cache.ts";
import type { ModelParts } from "./load.ts";
import { ANSWERS, type AnswerLogProb, answerLogProbs, LOG_PROBS_OPTIONS, type LogProbsOptions } from "./log-probs.ts";
import { Logits } from "./logits.ts";
import type { ModelSpec } from "./spec.ts";
import { readWeight, type WeightValues, weightTable } from "./weights/read.ts";

/** Positions whose logits are wanted: every one, each sequence's last, none, or a list (negative: from the end). */
export type LogitsSelection = "all" | "last" | "none" | s.NumberList;

/** Options of a forward pass. */
export interface ForwardOptions extends EncodeInputOptions {
  /** Default "all". Positions of a list come ascending, each once. */
  logits?: LogitsSelection;
  /** Continue these sequences and remember the new tokens. Without it keys and values are dropped after the pass. */
  kv?: KvCache;
  /**
   * `reference`: compute matmuls, attention and norms by their definitions instead of by the fastest kernels. Slow; shows
   * whether an adapter is to be trusted.
   */
  kernels?: "reference";
  /** Ends the call with `signal.reason`, also while kernels compile; what the GPU has begun, it finishes. */
  signal?: AbortSignal;
}

export const FORWARD_FIELDS = {
  ...ENCODE_FIELDS,
  logits: s.byForm<LogitsSelection>('"all", "last", "none" or a list of positions', (value) =>
    s.isListLike(value)
      ? s.list("positions", s.whole)
      : typeof value === "string"
        ? s.oneOf("all", "last", "none")
        : undefined,
  ),
  kv: s.instance("a KvCache, made by createKvCache()", KvCache),
  kernels: s.oneOf("reference"),
  signal: s.signal,
} as const satisfies s.Fields<ForwardOptions>;

const FORWARD_OPTIONS = s.object<ForwardOptions>("the options of forward", FORWARD_FIELDS);

/** Options of `createKvCache`. */
export interface KvCacheOptions {
  /** How many sequences it holds. Default 1. */
  sequences?: number;
  /** Tokens in all before it has to grow. Default 64. */
  capacity?: number;
}

export const KV_CACHE_OPTIONS = s.object<KvCacheOptions>("the options of createKvCache", {
  sequences: s.wholeFrom(1),
  capacity: s.wholeFrom(1),
});

/** What passes need beyond the public options: who looks, and where to stop. */
export interface RunOptions extends Omit<ForwardOptions, "kv"> {
  kv: KvCache;
  hooks?: PassHooks | undefined;
  /** Elements of one row of the widest point where something happens; scores have one for every head and key. */
  widest?: number;
  /** Keep every row through the last block, because something there is looked at. */
  everyRow?: boolean;
  /** End before this block; there are no logits then. */
  stopAtLayer?: number | undefined;
  inputsEmbeds?: Tensor | undefined;
  /** Where the logits go, one row after the other; the caller's, and at least that long. Without it: a tensor of their own. */
  into?: Tensor;
  /** Records what follows the logits, in the same submission as the last of them. */
  afterLogits?: (recorder: Recorder, logits: Tensor) => void;
}

export class Model {
  readonly gpu: Gpu;
  readonly spec: ModelSpec;
  readonly tokenizer: Tokenizer | undefined;
  /** Why the checkpoint's tokenizer cannot be used; text is refused with it. */
  readonly tokenizerError: ConfigError | undefined;
  /** Where the model came from, for messages. */
  readonly label: string;
  /** For those who build passes of their own. */
  readonly engine: Engine;
  readonly #ownsGpu: boolean;

  constructor(parts: ModelParts) {
    this.gpu = parts.gpu;
    this.spec = parts.spec;
    this.tokenizer = parts.tokenizer;
    this.tokenizerError = parts.tokenizerError;
    this.label = parts.label;
    this.engine = new Engine(parts.gpu, parts.spec, parts.weights);
    this.#ownsGpu = parts.ownsGpu;
  }

  /** An empty cache for `sequences` sequences, with room for `capacity` tokens in all before it has to grow. */
  createKvCache(options: KvCacheOptions = {}): KvCache {
    const { sequences = 1, capacity = 64 } = s.readOptions(KV_CACHE_OPTIONS, options, "createKvCache");
    this.engine.assertAlive();
    return this.engine.createCache(sequences, capacity);
  }

  /** Token ids of text, as `forward` would make them. */
  tokenize(text: string, options: EncodeInputOptions = {}): number[] {
    const read = s.readArgument(s.text, text, "tokenize", "text");
    return toIds(read, this, s.readOptions(ENCODE_OPTIONS, options, "tokenize"))[0] as number[];
  }

  /**
   * The id of a text that is exactly one token, without BOS: an answer to measure. Most tokens begin with a space, so that
   * " Lucy" is one where "Lucy" is several. The token's text is exactly the text given; see `Tokenizer.singleToken`.
   * @throws InputError `tokenizer/not-one-token` naming the tokens of any other text; `input/no-tokenizer`.
   */
  toSingleToken(text: string): number {
    const tokenizer = requireTokenizer(this, "Give the token's id.");
    return tokenizer.singleToken(s.readArgument(s.text, text, "toSingleToken", "text"));
  }

  /** The names that `weight` takes, in the order of the forward pass. */
  weightNames(): string[] {
    return [...weightTable(this.engine.weights).keys()];
  }

  /** A weight by TransformerLens's name and in its shape; see `readWeight`. @throws InputError `input/no-weight` */
  async weight(name: string): Promise<WeightValues> {
    return readWeight(this.engine, s.readArgument(s.text, name, "weight", "name"));
  }

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
    const { ids, inputsEmbeds } = this.#prepare(input, options);
    let own: KvCache | undefined;
    try {
      if (options.kv) this.checkCache(options.kv, ids);
      const before = options.kv?.lengths ?? [];
      ids.forEach((list, sequence) => {
        assertFits(this.spec, sequence, (before[sequence] ?? 0) + list.length);
      });
      own = options.kv ? undefined : this.createKvCache({ sequences: ids.length, capacity: sum(ids) });
      return await body(ids, { ...options, kv: options.kv ?? (own as KvCache), inputsEmbeds });
    } finally {
      inputsEmbeds?.destroy();
      own?.destroy();
    }
  }

  #prepare(input: ModelInput, options: ForwardOptions): { ids: number[][]; inputsEmbeds?: Tensor } {
    if (!isEmbeds(input)) return { ids: toIds(input, this, bosFor(options)) };
    if (options.addBos) s.refuseIdle("forward", "addBos", "before embeddings, which are taken as they are");
    const ids = this.#embedsShape(input);
    const { dModel } = this.spec;
    const packed = new Float32Array(sum(ids) * dModel);
    let at = 0;
    for (const embeds of input.inputsEmbeds) {
      packed.set(embeds, at);
      at += embeds.length;
    }
    return { ids, inputsEmbeds: this.gpu.tensorFrom(packed, [sum(ids), dModel], "inputsEmbeds") };
  }

  /** Stand-in ids (0) for embeddings, one a position. */
  #embedsShape({ inputsEmbeds }: EmbedsInput): number[][] {
    const { dModel } = this.spec;
    if (inputsEmbeds.length === 0)
      throw new InputError("input/empty", "inputsEmbeds holds no sequence. Give at least one.");
    return inputsEmbeds.map((embeds, sequence) => {
      if (embeds.length === 0 || embeds.length % dModel !== 0) {
        throw new InputError(
          "input/embeds-shape",
          `inputsEmbeds of sequence ${sequence} has ${embeds.length} numbers; it must be [pos, ${dModel}] with at least one position.`,
        );
      }
      return new Array<number>(embeds.length / dModel).fill(0);
    });
  }

  /** @throws InputError unless the cache is alive, not in use, this model's, and of the input's batch. */
  checkCache(kv: KvCache, ids: readonly (readonly number[])[]): void {
    kv.assertIdle();
    if (kv.store.gpu !== this.gpu || kv.store.shape !== this.spec) {
      throw new InputError(
        "input/cache-model",
        "This cache was made by another model. Make one with this model's createKvCache().",
      );
    }
    if (kv.sequences.length !== ids.length) {
      throw new InputError(
        "input/cache-batch",
        `The cache has ${kv.sequences.length} sequences, the input ${ids.length}. Fork the cache to the input's batch.`,
      );
    }
  }

  /**
   * Runs all rows, in as many passes as they need. On failure the cache is as it was.
   * @throws InputError `input/cache-busy` while another pass or a generation adds to the cache.
   */
  async run(ids: readonly (readonly number[])[], options: RunOptions): Promise<Logits> {
    return options.kv.adding(() => this.#runAdding(ids, options));
  }

  async #runAdding(ids: readonly (readonly number[])[], options: RunOptions): Promise<Logits> {
    const { kv } = options;
    const before = kv.lengths;
    const selected = selectPositions(
      options.stopAtLayer === undefined ? (options.logits ?? "all") : "none",
      before,
      ids,
    );
    assertOneRope(this.spec, before, ids);
    assertWhole(this.spec, before, ids);
    const rows = this.engine.appendRows(kv, ids);
    let logits: Tensor | undefined;
    try {
      logits = options.into ?? this.gpu.result([sum(selected), this.spec.vocabSize], "logits");
      await this.#runChunks(rows, selected, logits, options);
      return new Logits(logits, selected, this.spec.vocabSize);
    } catch (error) {
      if (!options.into) logits?.destroy();
      throw error;
    }
  }

  async #runChunks(
    rows: RowTable,
    selected: readonly (readonly number[])[],
    logits: Tensor,
    options: RunOptions,
  ): Promise<void> {
    const { kv, hooks, stopAtLayer, everyRow = false } = options;
    const wanted = selected.map((positions) => new Set(positions));
    const longest = Math.max(...kv.lengths);
    const perPass = this.engine.rowsPerPass(options.widest);
    // Who looks at scores expects rows of one width, whichever sequences a chunk holds.
    const keyCount = hooks ? longest : undefined;
    let logitRow = 0;
    for (const [first, end] of passesOf(this.spec, rows, perPass, this.engine.rowsThatFit(options.widest))) {
      options.signal?.throwIfAborted();
      const chunk = rows.slice(first, end);
      const pick = rowsWhere(chunk, (row) => wanted[chunk.sequence(row)]?.has(chunk.position(row)) ?? false);
      const all = pick.length === chunk.count;
      const inputsEmbeds = options.inputsEmbeds && { tensor: options.inputsEmbeds, firstRow: first };
      const outputRows = all || everyRow ? undefined : pick;
      const record = (recorder: Recorder) => {
        const picked = all || outputRows ? undefined : pick;
        this.engine.recordPass(recorder, {
          rows: chunk,
          cache: kv,
          hooks,
          stopAtLayer,
          inputsEmbeds,
          outputRows,
          keyCount,
          ...(stopAtLayer === undefined && { logits: { tensor: logits, firstRow: logitRow, picked } }),
        });
        if (first + chunk.count === rows.count) options.afterLogits?.(recorder, logits);
      };
      await Recorder.run(this.gpu, "forward", record, { kernels: options.kernels, signal: options.signal });
      logitRow += pick.length;
    }
  }

  /** Frees the weights, and the device if the model requested it. */
  destroy(): void {
    this.engine.destroy();
    if (this.#ownsGpu) this.gpu.destroy();
  }

  [Symbol.dispose](): void {
    this.destroy();
  }
}

/** Dynamic RoPE depends on the length of the sequence, so sequences of a batch would change each other. @throws InputError `input/dynamic-rope-batch` */
export function assertOneRope(
  spec: Pick<ModelSpec, "ropes">,
  before: readonly number[],
  ids: readonly (readonly number[])[],
): void {
  const lengths = ids.flatMap((list, sequence) => (list.length > 0 ? list.length + (before[sequence] as number) : []));
  const longest = Math.max(...lengths);
  for (const { scaling } of spec.ropes) {
    if (scaling.kind !== "dynamic" || longest <= scaling.originalMaxPositions) continue;
    if (lengths.every((length) => length === longest)) continue;
    throw new InputError(
      "input/dynamic-rope-batch",
      `With dynamic RoPE scaling, sequences beyond ${scaling.originalMaxPositions} tokens must have one length (here ${lengths.join(", ")}). Run them one by one.`,
    );
  }
}

function sum(lists: readonly { length: number }[]): number {
  return lists.reduce((total, list) => total + list.length, 0);
}

function rowsWhere(rows: RowTable, wanted: (row: number) => boolean): number[] {
  return Array.from({ length: rows.count }, (_, row) => row).filter(wanted);
}

/** Positions with logits, for each sequence; only new tokens have any. */
function selectPositions(
  selection: LogitsSelection,
  before: readonly number[],
  ids: readonly (readonly number[])[],
): number[][] {
  return ids.map((list, sequence) => {
    const start = before[sequence] as number;
    const end = start + list.length;
    if (selection === "none" || list.length === 0) return [];
    if (selection === "last") return [end - 1];
    if (selection === "all") return list.map((_, index) => start + index);
    const absolute = selection.map((position) => (position < 0 ? end + position : position));
    const bad = absolute.findIndex((position) => !Number.isInteger(position) || position < start || position >= end);
    if (bad >= 0) {
      throw new InputError(
        "input/position-range",
        `Logits of position ${selection[bad]} were asked for; sequence ${sequence} has new tokens at ${start} to ${end - 1}.`,
      );
    }
    return [...new Set(absolute)].sort((a, b) => a - b);
  });
}
