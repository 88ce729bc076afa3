/**
 * What is trained: the model of the preset `plus` (Llama, 2 layers of 64, 4 heads, MLP 128, vocabulary 21), on 32 sequences of
 * 66 predictions, of which the answers count (every second). A step is 1.15 GFLOP. Every side begins at the same weights and
 * gets the same batches.
 */
import { presetBatches, presetModel, type TaskBatch, trainingPreset } from "../../src/paper/index.ts";
import { learningRate as scheduled } from "../../src/train/schedule.ts";
import { readTensors, type TensorFile } from "./weights.ts";

const plus = trainingPreset("plus");
const preset = { ...plus, data: { ...plus.data, length: 66 } };

/** The sizes of the model, as its `config.json` has them. */
export const MODEL = preset.config as {
  vocab_size: number;
  hidden_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  rms_norm_eps: number;
  rope_theta: number;
};

/** Settings of AdamW. */
export const OPTIMIZER = preset.training.optimizer as {
  betas: [number, number];
  eps: number;
  weightDecay: number;
  clip: number;
};

/** The learning rate rises over the first 50 steps, and stays. */
export const SCHEDULE = { lr: preset.training.schedule.lr, warmup: 50 };

/** The learning rate of a step, which counts from 1. */
export const learningRate = (step: number) => scheduled(SCHEDULE, step, Infinity);

/** The folder that superlens loads. */
export const startModel = () => presetModel(preset);

/** The same weights by name. */
export async function startWeights(): Promise<TensorFile> {
  return readTensors((await startModel().readAll("model.safetensors")) as Uint8Array<ArrayBuffer>);
}

/** The first batches. They are drawn before a run, since drawing is no part of a step. */
export function firstBatches(count: number): TaskBatch[] {
  const drawn = presetBatches(preset)();
  return Array.from({ length: count }, () => drawn.next().value);
}

/** A side: a model and its optimizer in one runtime. */
export interface Trainer {
  /** As the table names it. */
  name: string;
  /** How it was used, where there was a choice. */
  note: string;
  /** Begins a run at the start weights and the first batch. */
  begin(plan: Plan): Promise<Training>;
  destroy(): Promise<void> | void;
}

export interface Plan {
  /** Steps of the whole run. */
  steps: number;
  /** Steps between two losses that are read. `steps` is a multiple of it. */
  every: number;
}

/** A run. */
export interface Training {
  /** Trains `every` steps more. Gives the loss of the last, once the GPU has done them. */
  advance(): Promise<number>;
  /** After the last step. */
  end(): Promise<void> | void;
}
