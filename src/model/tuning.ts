/**
 * Tunes a device while a model is loaded, once its weights say which classes of shapes there will be. Earlier choices on the
 * same adapter come from the store, and only missing classes are timed.
 */
import type { Gpu } from "../gpu/gpu.ts";
import { classesFor, isTuned, type KernelClass, type MatrixKind } from "../kernels/tuning/classes.ts";
import { takeKept, tuneAndKeep } from "../kernels/tuning/keep.ts";
import type { TuneProgress } from "../kernels/tuning/tuner.ts";
import type { ModelSpec } from "./spec.ts";
import { attentionWidths } from "./weights/table.ts";
import type { Weights } from "./weights/weights.ts";

/** Whether the kernels of a device are timed for a model. */
export interface TuningOptions {
  /**
   * `true`: take the stored choices for this adapter, time the missing classes (3 s at most) and store the result. `false`: the
   * default kernels, unless the device was tuned already. Default: take the stored choices, time nothing.
   */
  tune?: boolean;
  /** Called for each kernel that is timed. */
  onTune?: ((progress: TuneProgress) => void) | undefined;
  /** Told when the choices could not be kept. */
  onNotice?: ((message: string) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** Lets the device use the fastest kernels known for a model with such weights. */
export async function takeTuning(gpu: Gpu, spec: ModelSpec, weights: Weights, options: TuningOptions): Promise<void> {
  const { tune: wanted, onTune, onNotice, signal } = options;
  if (wanted === false) return;
  await takeKept(gpu, signal);
  if (!wanted) return;
  const classes = classesOf(weights, spec).filter((each) => !isTuned(gpu, each));
  if (classes.length === 0) return;
  await tuneAndKeep(gpu, { classes, onProgress: onTune, signal }, (error) =>
    onNotice?.(`the tuner's choices could not be kept, and will be found again: ${error.message}`),
  );
}

/** The classes of a model's matmuls and attention, most urgent first; of the matrices with most elements before others. */
export function classesOf({ W_U, blocks }: Pick<Weights, "W_U" | "blocks">, spec: ModelSpec): KernelClass[] {
  const matrices = blocks.flatMap((block) => [
    ...[block.W_perLayer_gate, block.W_perLayer_out],
    ...[block.W_DQ, block.W_UQ, block.W_DKV, block.W_KR, block.kvUp],
    ...[block.qkv, block.W_O, block.W_gate, block.W_in, block.W_out, block.W_router],
    ...[block.W_shared_gate, block.W_shared_in, block.W_shared_out],
  ]);
  const elements = new Map<string, { kind: MatrixKind; count: number }>();
  for (const matrix of [...matrices, W_U]) {
    if (!matrix) continue;
    const { layout, storage, width, outWidth } = matrix;
    const key = `${layout} ${storage}`;
    const count = (elements.get(key)?.count ?? 0) + width * outWidth;
    elements.set(key, { kind: { layout, storage }, count });
  }
  const kinds = [...elements.values()].sort((a, b) => b.count - a.count).map(({ kind }) => kind);
  return classesFor(kinds, [...new Set(attentionWidths(spec))]);
}
