/**
 * Training: forward, backward and AdamW in one submission a step; only losses are read back.
 *
 * The weights of the model change where they lie. Same weights, data and adapter give the same bits.
 */
import { InputError } from "../errors.ts";
import { widestOf } from "../hooks/backward.ts";
import { MetricSeed, meanLoss } from "../hooks/metric-gradient.ts";
import type { Model } from "../model/model.ts";
import { WeightGradients } from "../model/weights/gradients.ts";
import { tensorNames } from "../model/weights/tensors.ts";
import { AdamW, type AdamWOptions } from "./adamw.ts";
import { learningRate, type Schedule } from "./schedule.ts";

/** What a step learns from. */
export interface TrainBatch {
  /** Sequences of T + 1 tokens: the first T are read, and each predicts the one after it. */
  readonly ids: readonly (readonly number[])[];
  /** [batch, T]: whether the prediction at position t counts. All when absent. */
  readonly mask?: readonly (readonly boolean[])[] | undefined;
}

/** What happened in a step. */
export interface TrainStep {
  /** From 1. */
  readonly step: number;
  /** Mean cross entropy in nats of the counted predictions, before the step. */
  readonly loss: number;
  /** Of all gradients together, before it is cut. */
  readonly gradNorm: number;
  readonly lr: number;
}

/** How to train. */
export interface TrainOptions extends Schedule, AdamWOptions {
  /** A batch a step, as many as there are steps. */
  readonly data: Iterable<TrainBatch> | AsyncIterable<TrainBatch>;
  readonly steps: number;
  /** Steps between two readings of the loss, of which each waits for the GPU. Default 1. */
  readonly logEvery?: number | undefined;
  /** Called with each step that was read. */
  readonly onStep?: ((step: TrainStep) => unknown) | undefined;
  /** Computes activations twice rather than keep them; see `BackwardOptions.recompute`. */
  readonly recompute?: boolean | undefined;
  /** Ends the run with `signal.reason` between two steps. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Trains every weight of a model in place, and gives the steps that were read.
 * @throws InputError `train/data` for a batch without a counted prediction or data that end early, `train/not-finite` for a
 * loss that is no number, naming the step; as `forward` for ids out of range.
 */
export async function trainModel(model: Model, options: TrainOptions): Promise<TrainStep[]> {
  const { gpu, engine } = model;
  using gradients = new WeightGradients(gpu, engine.weights, tensorNames(engine.weights));
  const optimizer = new AdamW(gpu, gradients, options);
  const steps: TrainStep[] = [];
  try {
    let step = 0;
    for await (const batch of options.data) {
      if (step === options.steps) break;
      step++;
      options.signal?.throwIfAborted();
      const lr = learningRate(options, step, options.steps);
      const isRead = step % (options.logEvery ?? 1) === 0 || step === options.steps;
      const loss = await trainStep(model, gradients, optimizer, batch, { ...options, step, lr, isRead });
      if (loss === undefined) continue;
      const [gradNorm] = (await optimizer.norm.read()) as unknown as [number];
      if (!Number.isFinite(loss))
        throw new InputError(
          "train/not-finite",
          `The loss of step ${step} is ${loss}. Train with a lower lr, or a clip.`,
        );
      const done = { step, loss, gradNorm, lr };
      steps.push(done);
      await options.onStep?.(done);
    }
    if (step < options.steps)
      throw new InputError(
        "train/data",
        `The data ended after ${step} of ${options.steps} steps. Give a batch for each.`,
      );
    return steps;
  } finally {
    optimizer.destroy();
  }
}

/** One step; gives the loss where it is read. */
async function trainStep(
  model: Model,
  weights: WeightGradients,
  optimizer: AdamW,
  { ids, mask }: TrainBatch,
  { step, lr, isRead, recompute, signal }: { step: number; lr: number; isRead: boolean } & TrainOptions,
): Promise<number | undefined> {
  const inputs = ids.map((list) => list.slice(0, -1));
  const counts = (sequence: number, position: number) => mask?.[sequence]?.[position] ?? mask === undefined;
  const plan = meanLoss(inputs, ids, counts);
  if (!plan) throw new InputError("train/data", `The batch of step ${step} counts no prediction.`);
  const seed = new MetricSeed(model.gpu, plan, model.spec.vocabSize);
  try {
    await model.withInput(inputs, {}, async (rows, run) => {
      const logits = await model.run(rows, {
        ...run,
        signal,
        widest: widestOf(model, rows, plan),
        backward: { seed: seed.record, weights, recompute },
        afterLogits: (recorder) => optimizer.record(recorder, lr, step),
      });
      logits.destroy();
    });
    return isRead ? ((await seed.read())[0] as number) : undefined;
  } finally {
    seed.destroy();
  }
}
