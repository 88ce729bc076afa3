/**
 * Training a dictionary: a TopK sparse autoencoder or transcoder (Gao et al. 2024, arXiv 2406.04093) of a model's activations.
 *
 * The dictionary is spliced into the model, with its error. A step is one pass that ends with the block, forwards and back from the error:
 * the loss is the mean over positions of its square, whose gradient is the error itself. So activations are made, used and dropped on
 * the GPU, and nothing is read back but the loss of steps that are reported. AdamW moves the weights in the same submission.
 *
 * Features that no position made active for `resampleEvery` steps are dead. Each begins anew: its encoder and decoder become the direction
 * of an error of the step's batch, taken with probability proportional to its square (Bricken et al. 2023); bias and moments become 0.
 */
import { FilesSource, writeSafetensors } from "../checkpoint/index.ts";
import { InputError } from "../errors.ts";
import type { BufferSlice } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { MODEL } from "../hooks/call.ts";
import { type Dictionary, type HookedModel, loadDictionary } from "../hooks/index.ts";
import { weightsOf } from "../hooks/modules/dictionary.ts";
import { dictionaryFiles } from "../hooks/modules/save.ts";
import { rowWidth } from "../hooks/plan.ts";
import { resolvePoint } from "../hooks/points.ts";
import { combine } from "../kernels/calls.ts";
import { countColumns } from "../kernels/dictionary.ts";
import { RandomStream } from "../model/random.ts";
import * as s from "../schema/schema.ts";
import { ADAMW_OPTIONS, AdamW, type AdamWOptions } from "./adamw.ts";
import { DictionaryGradients, type TrainedDictionary } from "./dictionary-gradients.ts";
import { normal } from "./normal.ts";
import { learningRate, SCHEDULE, type Schedule } from "./schedule.ts";

/** What a reported step of `trainDictionary` was. */
export interface DictionaryStep {
  /** Counts from 1. */
  step: number;
  /** The mean over positions of the squared error, before the step. */
  loss: number;
  /** The part of the activation's variance that the error has; 0 is a perfect reconstruction. */
  unexplained: number;
  /** Features that began anew in this step. */
  resampled: number;
}

/** What to train, on what. */
export interface TrainDictionaryOptions {
  /** Whose activations. Its weights stay as they are. */
  model: HookedModel;
  /** The token ids of each step, [sequences][tokens]; all in one pass. */
  data: (step: number) => number[][] | Promise<number[][]>;
  /** The point that is read. */
  hook: string;
  /** The point that is given, of a transcoder; the same when absent. */
  hookOut?: string;
  /** Features. */
  dSae: number;
  /** Active features of a position at most. */
  k: number;
  /** How many steps. */
  steps: number;
  /** The learning rate. */
  schedule: Schedule;
  /** Settings of AdamW. Matrices decay by 0 unless told. */
  optimizer?: AdamWOptions;
  /** Steps after which features that were never active begin anew. Default 250; 0 for never. */
  resampleEvery?: number;
  /** Of the first weights, and of what dead features become. Default 0. */
  seed?: number;
  /** Steps from one report to the next. Default 50. */
  logEvery?: number;
  /** Called with the steps that are reported; the run waits for it. */
  onStep?: (step: DictionaryStep) => unknown;
  /** Ends the run with `signal.reason` between two steps; the dictionary is then destroyed. */
  signal?: AbortSignal;
}

export const TRAIN_DICTIONARY_OPTIONS = s.object<TrainDictionaryOptions>("the options of trainDictionary", {
  model: s.required(MODEL),
  data: s.required(s.callback),
  hook: s.required(s.text),
  hookOut: s.text,
  dSae: s.required(s.wholeFrom(1)),
  k: s.required(s.wholeFrom(1)),
  steps: s.required(s.wholeFrom(1)),
  schedule: s.required(SCHEDULE),
  optimizer: ADAMW_OPTIONS,
  resampleEvery: s.wholeFrom(0),
  seed: s.wholeFrom(0),
  logEvery: s.wholeFrom(1),
  onStep: s.callback,
  signal: s.signal,
});

/**
 * Trains a TopK dictionary from scratch. The caller destroys it; `saveDictionary` writes it as SAELens does. SAELens has no TopK transcoder:
 * a transcoder is returned as a JumpReLU one, with a threshold that leaves about k features active.
 *
 *     using sae = await trainDictionary({ model, data, hook: "blocks.0.hook_resid_post", dSae: 512, k: 8, steps: 1000, schedule: { lr: 1e-3 } });
 *
 * @throws HookError `hook/no-such-point`, `module/hook`; InputError `train/data` for a batch that is empty or larger than a pass
 */
export async function trainDictionary(options: TrainDictionaryOptions): Promise<Dictionary> {
  const read = s.readOptions(TRAIN_DICTIONARY_OPTIONS, options, "trainDictionary") as TrainDictionaryOptions;
  const dictionary = await loadDictionary(read.model, firstFiles(read));
  try {
    using run = new Run(read, dictionary);
    await run.finish();
    return read.hookOut === undefined ? dictionary : await withThreshold(read.model, dictionary, await run.threshold());
  } catch (error) {
    dictionary.destroy();
    throw error;
  }
}

/** The transcoder with a threshold in place of its k, as SAELens has it. */
async function withThreshold(model: HookedModel, dictionary: Dictionary, threshold: number): Promise<Dictionary> {
  const files = await dictionaryFiles(dictionary, threshold);
  const finished = await loadDictionary(model, sourceOf(files));
  dictionary.destroy();
  return finished;
}

function sourceOf({ config, weights }: { config: string; weights: Uint8Array }): FilesSource {
  const files = [
    { name: "cfg.json", blob: new Blob([config]) },
    { name: "sae_weights.safetensors", blob: new Blob([weights as Uint8Array<ArrayBuffer>]) },
  ];
  return new FilesSource(files, "the dictionary in training");
}

/** The dictionary before the first step, as SAELens's files: directions of length 1, of which encoder and decoder of a feature share one. */
function firstFiles({ model, hook, hookOut = hook, dSae, k, seed = 0 }: TrainDictionaryOptions): FilesSource {
  const widthOf = (name: string) =>
    rowWidth(resolvePoint(model.spec, name), { spec: model.spec, lengths: [1], starts: [0] });
  const [dIn, dOut] = [widthOf(hook), widthOf(hookOut)];
  const random = RandomStream.fromSeed(seed);
  const encoder = directions(random, dSae, dIn);
  const decoder = hookOut === hook ? encoder : directions(random, dSae, dOut);
  const turned = Float32Array.from(encoder, (_, i) => encoder[(i % dSae) * dIn + Math.floor(i / dSae)] as number);
  const isTranscoder = hookOut !== hook;
  const cfg = {
    architecture: isTranscoder ? "topk_transcoder" : "topk",
    ...{
      d_in: dIn,
      d_sae: dSae,
      ...(isTranscoder && { d_out: dOut }),
      k,
    },
    ...{ dtype: "float32", device: "cpu", apply_b_dec_to_input: false, normalize_activations: "none" },
    reshape_activations: hook.endsWith("hook_z") ? "hook_z" : "none",
    metadata: { hook_name: hook, ...(isTranscoder && { hook_name_out: hookOut }), model_name: model.spec.family },
  };
  const tensor = (name: string, shape: readonly number[], data: Float32Array) => ({
    ...{ name, dtype: "F32" as const, shape, data: new Uint8Array(data.buffer) },
  });
  const weights = writeSafetensors([
    tensor("W_enc", [dIn, dSae], turned),
    tensor("W_dec", [dSae, dOut], decoder),
    tensor("b_enc", [dSae], new Float32Array(dSae)),
    tensor("b_dec", [dOut], new Float32Array(dOut)),
  ]);
  return sourceOf({ config: JSON.stringify(cfg), weights });
}

/** Random rows of length 1. */
function directions(random: RandomStream, rows: number, width: number): Float32Array {
  const values = Float32Array.from({ length: rows * width }, () => normal(random));
  for (let row = 0; row < rows; row++) {
    const own = values.subarray(row * width, (row + 1) * width);
    own.set(unit(own));
  }
  return values;
}

function unit(vector: Float32Array): Float32Array {
  const length = Math.hypot(...vector);
  return vector.map((value) => value / (length || 1));
}

class Run {
  readonly #spliced: HookedModel;
  readonly #weights: TrainedDictionary;
  readonly #gradients: DictionaryGradients;
  readonly #optimizer: AdamW;
  readonly #counts: Tensor;
  readonly #random: RandomStream;

  constructor(
    private readonly options: TrainDictionaryOptions,
    private readonly dictionary: Dictionary,
  ) {
    const { model, optimizer = {}, seed = 0 } = options;
    this.#spliced = model.withModules(dictionary);
    this.#weights = weightsOf(dictionary)[0] as unknown as TrainedDictionary;
    this.#gradients = new DictionaryGradients(model.gpu, this.#weights);
    this.#optimizer = new AdamW(model.gpu, this.#gradients, { weightDecay: 0, ...optimizer });
    this.#counts = model.gpu.tensor([dictionary.dSae], "active positions of each feature", "u32");
    this.#random = RandomStream.fromSeed(seed, 1);
  }

  async finish(): Promise<void> {
    const { steps, logEvery = 50, resampleEvery = 250, onStep, signal, data } = this.options;
    for (let step = 1; step <= steps; step++) {
      signal?.throwIfAborted();
      const ids = s.readArgument(BATCH, await data(step), "trainDictionary", "what data gives");
      const isReported = step % logEvery === 0 || step === steps;
      const resamples = resampleEvery > 0 && step % resampleEvery === 0 && step < steps;
      const seen = await this.#step(ids, step, isReported || resamples);
      const resampled = resamples ? await this.#resample(seen as Seen) : 0;
      if (isReported) await onStep?.({ step, ...measured(seen as Seen), resampled });
    }
  }

  /** A step; with what it read and erred, where that is wanted. */
  async #step(ids: number[][], step: number, isWanted: boolean): Promise<Seen | undefined> {
    const { model, schedule, steps, signal } = this.options;
    const { base } = this.#spliced;
    const { gpu } = model;
    const rows = ids.reduce((sum, { length }) => sum + length, 0);
    const { hookIn, hookOut, dSae, dOut } = this.dictionary.modules[0] as Dictionary["modules"][number];
    if (rows === 0 || rows > base.engine.rowsPerPass(dSae))
      throw new InputError(
        "train/data",
        `The batch of step ${step} has ${rows} tokens; one pass takes 1 to ${base.engine.rowsPerPass(dSae)}. Give the steps others.`,
      );
    const positions = ids.map((list) => [...list.keys()]);
    const longest = Math.max(...ids.map(({ length }) => length));
    const shape = (width: number) => [ids.length, longest, width];
    const acts = gpu.tensor(shape(dSae), "features in training");
    const error = isWanted ? gpu.tensor(shape(dOut), "errors") : undefined;
    const target = isWanted ? gpu.tensor(shape(dOut), "targets") : undefined;
    const captures = [
      { name: `${hookIn}.hook_sae_acts_post`, tensor: acts },
      ...(error ? [{ name: `${hookOut}.hook_sae_error`, tensor: error }] : []),
      ...(target ? [{ name: hookOut, tensor: target }] : []),
    ];
    const seedAt = `${hookOut}.hook_sae_error`;
    const layer = resolvePoint(this.#spliced.spec, hookOut).layer ?? 0;
    try {
      await base.withInput(ids, {}, async (lists, run) => {
        const logits = await base.run(lists, {
          ...run,
          ...{ everyRow: true, stopAtLayer: layer + 1, widest: dSae, signal },
          hooks: { edits: [], callbacks: [], captures, positions, allPositions: positions, seedAt },
          backward: {
            weights: this.#gradients,
            seed: (recorder, x, table, out) =>
              combine(recorder, x.buffer, out.buffer, table.count * x.heads * x.width, "replace", 2 / rows),
          },
          afterLogits: (recorder) => {
            countColumns(recorder, acts, ids.length * longest, dSae, this.#counts);
            this.#optimizer.record(recorder, learningRate(schedule, step, steps), step);
          },
        });
        logits.destroy();
      });
      if (!error || !target) return undefined;
      return { width: dOut, rows, errors: await error.read(), targets: await target.read() };
    } finally {
      for (const tensor of [acts, error, target]) tensor?.destroy();
    }
  }

  /**
   * The mean over positions of the smallest activation that is active, for the last batch: what SAELens makes of BatchTopK. With it in place
   * of k a position has about k active features.
   */
  async threshold(): Promise<number> {
    const { steps, data } = this.options;
    const { hookIn, dSae } = this.dictionary.modules[0] as Dictionary["modules"][number];
    const point = `${hookIn}.hook_sae_acts_post`;
    using result = await this.#spliced.forward(await data(steps), { capture: point, logits: "none" });
    const acts = await result.cache.read(point);
    const least = Array.from({ length: acts.length / dSae }, (_, row) =>
      acts
        .subarray(row * dSae, (row + 1) * dSae)
        .reduce((min, value) => (value > 0 ? Math.min(min, value) : min), Infinity),
    ).filter(Number.isFinite);
    return least.length > 0 ? least.reduce((sum, value) => sum + value, 0) / least.length : 0;
  }

  /** Lets dead features begin anew, and gives their number. */
  async #resample({ width, errors }: Seen): Promise<number> {
    const { gpu } = this.options.model;
    const counts = await this.#counts.readU32();
    const dead = [...counts.keys()].filter((feature) => counts[feature] === 0);
    const squares = Array.from({ length: errors.length / width }, (_, row) =>
      errors.subarray(row * width, (row + 1) * width).reduce((sum, value) => sum + value * value, 0),
    );
    const total = squares.reduce((sum, square) => sum + square, 0);
    const { dIn } = this.dictionary.modules[0] as Dictionary["modules"][number];
    for (const feature of total > 0 ? dead : []) {
      let left = this.#random.next() * total;
      let row = 0;
      while (row < squares.length - 1 && left >= (squares[row] as number)) left -= squares[row++] as number;
      const direction = unit(errors.slice(row * width, (row + 1) * width));
      this.#put("W_dec", feature, direction);
      this.#put(
        "W_enc",
        feature,
        dIn === width && !this.options.hookOut ? direction : directions(this.#random, 1, dIn),
      );
      this.#put("b_enc", feature, new Float32Array(1));
    }
    gpu.device.queue.writeBuffer(this.#counts.buffer, 0, new Uint32Array(counts.length));
    return total > 0 ? dead.length : 0;
  }

  /** A feature's row of a weight, and zeros for its moments. */
  #put(name: "W_dec" | "W_enc" | "b_enc", feature: number, values: Float32Array): void {
    const { queue } = this.options.model.gpu.device;
    const { matrix } = this.#gradients.of(name);
    const part = matrix.parts.findIndex(({ firstRow, rows }) => feature >= firstRow && feature < firstRow + rows);
    const { firstRow } = matrix.parts[part] as { firstRow: number };
    const at = 4 * (feature - firstRow) * matrix.stride;
    const write = ({ buffer, offset = 0 }: BufferSlice, numbers: Float32Array) =>
      queue.writeBuffer(buffer, offset + at, numbers as Float32Array<ArrayBuffer>);
    const own = name === "b_enc" ? [this.#weights.b_enc] : this.#weights[name].parts;
    write(own[part] as BufferSlice, values);
    for (const moment of ["m", "v"] as const) {
      const held = this.#optimizer.moments(moment).find(({ planned }) => planned.place === name);
      write(held?.slices[part] as BufferSlice, new Float32Array(values.length));
    }
  }

  [Symbol.dispose](): void {
    this.#spliced.destroy();
    for (const each of [this.#gradients, this.#optimizer, this.#counts]) each.destroy();
  }
}

const BATCH = s.list("lists of token ids", s.list("token ids", s.wholeFrom(0)));

/** What a step erred, and what it should have given, [rows, width]; zeros where a sequence is shorter than the longest. */
interface Seen {
  readonly width: number;
  readonly rows: number;
  readonly errors: Float32Array;
  readonly targets: Float32Array;
}

function measured({ width, rows, errors, targets }: Seen): { loss: number; unexplained: number } {
  const squares = (values: Float32Array) => values.reduce((sum, value) => sum + value * value, 0);
  const means = Array.from({ length: width }, (_, d) => {
    let sum = 0;
    for (let i = d; i < targets.length; i += width) sum += targets[i] as number;
    return sum / rows;
  });
  const variance = squares(targets) - rows * means.reduce((sum, mean) => sum + mean * mean, 0);
  return { loss: squares(errors) / rows, unexplained: squares(errors) / variance };
}
