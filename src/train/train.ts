/**
 * Training: forward, backward and AdamW in one submission a step; only losses are read back.
 *
 * The weights of the model change where they lie. Same weights, data and adapter give the same bits, also where a run was
 * killed and went on from its checkpoint.
 */
import { type FileStore, STORE, storeOf } from "../checkpoint/store.ts";
import { InputError } from "../errors.ts";
import { MODEL } from "../hooks/call.ts";
import type { HookedModel } from "../hooks/index.ts";
import type { Model } from "../model/model.ts";
import { WeightGradients } from "../model/weights/gradients.ts";
import { parameterNames } from "../model/weights/tensors.ts";
import * as s from "../schema/schema.ts";
import { ADAMW_OPTIONS, AdamW, type AdamWOptions } from "./adamw.ts";
import {
  hasCheckpoint,
  type Progress,
  type RunSettings,
  readCheckpoint,
  type TrainStep,
  writeCheckpoint,
} from "./checkpoint.ts";
import { batchesFrom, type Counted, TRAIN_DATA, type TrainData } from "./data.ts";
import { learningRate, SCHEDULE, type Schedule } from "./schedule.ts";
import { runStep, type Stepping } from "./step.ts";

/** Where a run keeps its state, and how often. */
export interface TrainCheckpoints {
  /** A folder (`checkpoint.safetensors` in it), or a store of your own, such as a `MemoryStore`. */
  in: string | FileStore;
  /** Steps between two checkpoints; one more is made at the end. Default 100. */
  every?: number;
  /** Go on from the checkpoint that is there; without one, begin. Without `resume`, one that is there is refused. */
  resume?: boolean;
  /** What else a run must have in common with the one that it goes on with, such as the seed of its data. JSON. */
  settings?: Readonly<Record<string, unknown>>;
}

/** What to train, and how. */
export interface TrainOptions {
  /** A model from `loadModel(source, { dtype: "float32" })`; its weights change. */
  model: HookedModel;
  /**
   * Batches `{ ids, mask }` in order, as many as `steps` takes. A function `(first) => batches` begins at batch `first`: a
   * resumed run then need not draw those before again.
   */
  data: TrainData;
  /** How often the weights move. */
  steps: number;
  /** Learning rate, warm-up and decay. */
  schedule: Schedule;
  /** Settings of AdamW. */
  optimizer?: AdamWOptions;
  /** Batches that make one step, as if they were one batch. Default 1. */
  accumulate?: number;
  /** Steps between two readings of the loss, of which each waits for the GPU. Default 1. */
  logEvery?: number;
  /** Called with each step that was read. */
  onStep?: (step: TrainStep) => unknown;
  /** Called every `evaluateEvery` steps and after the last; what it gives stands in the step as `evaluation`, and is kept as JSON. */
  evaluate?: (model: HookedModel, step: number) => unknown;
  /** Default 100. */
  evaluateEvery?: number;
  /** Keeps the run's state, so that it can go on after a kill at any moment. */
  checkpoint?: TrainCheckpoints;
  /** Computes activations twice rather than keep them; see `BackwardOptions.recompute`. */
  recompute?: boolean;
  /** Ends the run with `signal.reason` between two steps, after a checkpoint if there are to be any. */
  signal?: AbortSignal;
}

export const TRAIN_CHECKPOINTS = s.object<TrainCheckpoints>("checkpoint", {
  in: s.required(STORE),
  every: s.wholeFrom(1),
  resume: s.flag,
  settings: s.simple("an object", s.isRecord),
});

export const TRAIN_OPTIONS = s.object<TrainOptions>("the options of train", {
  model: s.required(MODEL),
  data: s.required(TRAIN_DATA),
  steps: s.required(s.wholeFrom(1)),
  schedule: s.required(SCHEDULE),
  optimizer: ADAMW_OPTIONS,
  accumulate: s.wholeFrom(1),
  logEvery: s.wholeFrom(1),
  onStep: s.callback,
  evaluate: s.callback,
  evaluateEvery: s.wholeFrom(1),
  checkpoint: TRAIN_CHECKPOINTS,
  recompute: s.flag,
  signal: s.signal,
});

/** Models in training. Two runs would move the same weights. */
const TRAINING = new WeakSet<Model>();

/**
 * Trains every weight of a model in place, and gives the steps that were read, of a resumed run also those before.
 *
 *     const model = await loadModel("./model", { dtype: "float32" });
 *     await train({ model, data, steps: 1000, schedule: { lr: 3e-3, warmup: 50, decay: 0.3 } });
 *     await saveModel(model, "./trained");
 *
 * @throws InputError `train/data` for a batch without a counted prediction or data that end early; `train/not-finite` for a
 * gradient that is no number, naming the step: the weights are then those before it; `train/storage`, `train/busy`,
 * `train/edited`, `train/streamed`; `train/checkpoint-exists`, `train/other-run`; as `forward` for ids out of range.
 */
export async function train(options: TrainOptions): Promise<TrainStep[]> {
  const read = s.readOptions(TRAIN_OPTIONS, options, "train") as TrainOptions;
  refuseIdleOptions(read);
  const { base, standing } = read.model;
  read.model.assertOpen();
  if (standing.length > 0)
    throw new InputError("train/edited", "train() does not apply the edits of withEdits(). Train the model itself.");
  if (base.engine.isStreamed)
    throw new InputError(
      "train/streamed",
      'This model\'s weights are streamed from its checkpoint, so they cannot be changed. Load it with residency: "resident".',
    );
  if (TRAINING.has(base))
    throw new InputError(
      "train/busy",
      "This model is being trained already. Wait for that run, or load the model again.",
    );
  TRAINING.add(base);
  try {
    return await new Run(base, read).train();
  } finally {
    TRAINING.delete(base);
  }
}

function refuseIdleOptions({ evaluate, evaluateEvery }: TrainOptions): void {
  if (evaluateEvery !== undefined && !evaluate) s.refuseIdle("train", "evaluateEvery", "without evaluate");
}

class Run {
  readonly #gradients: WeightGradients;
  readonly #optimizer: AdamW;
  readonly #store: FileStore | undefined;
  readonly #settings: RunSettings;
  #steps: TrainStep[] = [];

  constructor(
    private readonly model: Model,
    private readonly options: TrainOptions,
  ) {
    const { gpu, engine } = model;
    const { optimizer = {}, checkpoint, steps, schedule, accumulate = 1 } = options;
    this.#settings = { ...checkpoint?.settings, steps, schedule, optimizer, accumulate };
    this.#store = checkpoint && storeOf(checkpoint.in);
    this.#gradients = new WeightGradients(gpu, engine.weights, parameterNames(engine.weights));
    try {
      this.#optimizer = new AdamW(gpu, this.#gradients, optimizer);
    } catch (error) {
      this.#gradients.destroy();
      throw error;
    }
  }

  async train(): Promise<TrainStep[]> {
    try {
      await this.#steppingFrom(await this.#begin());
      return this.#steps;
    } finally {
      this.#optimizer.destroy();
      this.#gradients.destroy();
    }
  }

  /** Steps that were done before. */
  async #begin(): Promise<number> {
    const store = this.#store;
    if (!store || !(await hasCheckpoint(store))) return 0;
    if (!this.options.checkpoint?.resume)
      throw new InputError(
        "train/checkpoint-exists",
        `${store.label} holds the state of a run. Give resume: true to go on with it, or train into another folder.`,
      );
    const { gpu, engine } = this.model;
    const { step, steps } = await readCheckpoint(store, gpu, engine.weights, this.#optimizer, this.#settings);
    this.#steps = [...steps];
    return step;
  }

  async #steppingFrom(done: number): Promise<void> {
    const { data, steps, accumulate = 1, signal } = this.options;
    if (done >= steps) return;
    let step = done;
    let batches: Counted[] = [];
    for await (const batch of batchesFrom(data, done * accumulate)) {
      batches.push(batch);
      if (batches.length < accumulate) continue;
      if (signal?.aborted) await this.#stop(step);
      step++;
      await this.#step(step, batches);
      if (step === steps) return;
      batches = [];
    }
    throw new InputError(
      "train/data",
      `The data ended after ${step} of ${steps} steps, of ${accumulate} batches each.`,
    );
  }

  async #step(step: number, batches: readonly Counted[]): Promise<void> {
    const { schedule, steps, logEvery = 1, evaluate, evaluateEvery = 100, checkpoint, recompute } = this.options;
    const isLast = step === steps;
    const isTime = (every: number) => isLast || step % every === 0;
    const evaluates = evaluate !== undefined && isTime(evaluateEvery);
    const saves = this.#store !== undefined && isTime(checkpoint?.every ?? 100);
    const lr = learningRate(schedule, step, steps);
    const stepping: Stepping = { model: this.model, gradients: this.#gradients, optimizer: this.#optimizer, recompute };
    const { loss, destroy } = await runStep(stepping, batches, { lr, step });
    try {
      if (!isTime(logEvery) && !evaluates && !saves) return;
      const read = { step, loss: await loss(), ...(await this.#gradNorm()), lr };
      const entry = evaluates ? { ...read, evaluation: await evaluate(this.options.model, step) } : read;
      this.#steps.push(entry);
      await this.options.onStep?.(entry);
      if (saves) await this.#save({ step, steps: this.#steps });
    } finally {
      destroy();
    }
  }

  /** Keeps what the steps so far gave. @throws `signal.reason` */
  async #stop(step: number): Promise<void> {
    if (this.#store && step > 0) {
      await this.#gradNorm();
      await this.#save({ step, steps: this.#steps });
    }
    this.options.signal?.throwIfAborted();
  }

  /** @throws InputError `train/not-finite` */
  async #gradNorm(): Promise<{ gradNorm: number }> {
    const { gradNorm, badStep } = await this.#optimizer.readNorm();
    if (badStep === undefined) return { gradNorm };
    throw new InputError(
      "train/not-finite",
      `The gradient of step ${badStep} is not finite, so the loss has grown beyond all numbers. The weights are those before that step. Train with a lower lr, or with optimizer.clip.`,
    );
  }

  #save(progress: Progress): Promise<void> {
    const { gpu, engine } = this.model;
    return writeCheckpoint(this.#store as FileStore, gpu, engine.weights, this.#optimizer, this.#settings, progress);
  }
}
