/**
 * The state of a run in one file, from which it goes on exactly: weights, both moments of AdamW, how many steps were done, and
 * what each of them gave. The file is safetensors: weights have the checkpoint's names and shapes, moments the same after `m:`
 * and `v:`. So a run can go on on another adapter, and Python can look into it.
 */
import {
  type FileStore,
  type LazyTensorEntry,
  openCheckpoint,
  streamSafetensors,
  toFloat32,
} from "../checkpoint/index.ts";
import { InputError } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import {
  type InMemory,
  piecesOf,
  readTensor,
  shapeInFamily,
  tensorNames,
  weightsInMemory,
  writeTensors,
} from "../model/weights/tensors.ts";
import type { Weights } from "../model/weights/weights.ts";
import type { AdamW } from "./adamw.ts";

/** The file's name in the folder of the run. */
export const CHECKPOINT_FILE = "checkpoint.safetensors";

/** What a run must have in common with the one it continues: how each step follows from the last. */
export type RunSettings = Readonly<Record<string, unknown>>;

/** What happened in a step. */
export interface TrainStep {
  /** From 1. */
  step: number;
  /** Mean cross entropy in nats of the counted predictions, before the weights moved. */
  loss: number;
  /** Of all gradients together, before it is cut. */
  gradNorm: number;
  lr: number;
  /** What `evaluate` gave after the step. */
  evaluation?: unknown;
}

/** Where a run stands. */
export interface Progress {
  /** Steps done. */
  readonly step: number;
  /** What was read of them. */
  readonly steps: readonly TrainStep[];
}

const TAGS = { weight: "", m: "m:", v: "v:" } as const;

/** What is kept, with the tag of its names. */
function parts(weights: Weights, optimizer: AdamW): [string, readonly InMemory[]][] {
  return [
    [TAGS.weight, weightsInMemory(weights)],
    [TAGS.m, optimizer.moments("m")],
    [TAGS.v, optimizer.moments("v")],
  ];
}

/** Writes the state, tensor by tensor as they are read from the GPU. */
export async function writeCheckpoint(
  store: FileStore,
  gpu: Gpu,
  weights: Weights,
  optimizer: AdamW,
  settings: RunSettings,
  { step, steps }: Progress,
): Promise<void> {
  const entries = parts(weights, optimizer).flatMap(([tag, memory]) => tensorEntries(gpu, weights, memory, tag));
  const metadata = { step: String(step), settings: JSON.stringify(settings), steps: JSON.stringify(steps) };
  await store.write(CHECKPOINT_FILE, streamSafetensors(entries, metadata));
}

/** Tensors in memory under their names in the checkpoint, each read when its turn comes. */
export function tensorEntries(gpu: Gpu, weights: Weights, memory: readonly InMemory[], tag = ""): LazyTensorEntry[] {
  return tensorNames(weights).map((name) => {
    const pieces = piecesOf(memory, name);
    const [first] = pieces;
    const shape = first ? shapeInFamily(first.piece) : [];
    return { name: tag + name, dtype: "F32" as const, shape, data: () => readTensor(gpu, pieces) };
  });
}

/** Whether the folder of a run holds its state. */
export async function hasCheckpoint(store: FileStore): Promise<boolean> {
  const source = store.source();
  try {
    return await source.exists(CHECKPOINT_FILE);
  } finally {
    await source.close?.();
  }
}

/**
 * Restores the state into weights and moments.
 * @throws InputError `train/other-run` for a state of another model or other settings; CheckpointError for a damaged file
 */
export async function readCheckpoint(
  store: FileStore,
  gpu: Gpu,
  weights: Weights,
  optimizer: AdamW,
  settings: RunSettings,
): Promise<Progress> {
  const checkpoint = await openCheckpoint(store.source(), { file: CHECKPOINT_FILE });
  try {
    const { metadata, tensors } = checkpoint;
    refuseOther(store.label, settings, JSON.parse(metadata.settings ?? "{}") as RunSettings);
    const saved = parts(weights, optimizer);
    for (const [tag, memory] of saved) {
      for (const { name, shape } of tensorEntries(gpu, weights, memory, tag)) {
        const found = tensors.get(name);
        if (found?.dtype === "F32" && String(found.shape) === String(shape)) continue;
        throw new InputError(
          "train/other-run",
          `${store.label}/${CHECKPOINT_FILE} has ${found ? `${name} as ${found.dtype} [${found.shape.join(", ")}]` : `no ${name}`}, and this model's is F32 [${shape.join(", ")}]. It belongs to another model; train into another folder.`,
        );
      }
    }
    for (const [tag, memory] of saved)
      for (const each of memory)
        await writeTensors(gpu, each, async (name) => toFloat32(await checkpoint.read(tag + name), "F32"));
    return { step: Number(metadata.step), steps: JSON.parse(metadata.steps ?? "[]") as TrainStep[] };
  } finally {
    await checkpoint.close();
  }
}

function refuseOther(label: string, own: RunSettings, found: RunSettings): void {
  const names = [...new Set([...Object.keys(own), ...Object.keys(found)])];
  const shown = (value: unknown) => JSON.stringify(value) ?? "not set";
  const others = names.filter((name) => shown(own[name]) !== shown(found[name]));
  if (others.length === 0) return;
  const each = others.map((name) => `${name} is ${shown(found[name])} there and ${shown(own[name])} here`);
  throw new InputError(
    "train/other-run",
    `${label}/${CHECKPOINT_FILE} belongs to a run with other settings: ${each.join("; ")}. Go on with the same, or train into another folder.`,
  );
}
