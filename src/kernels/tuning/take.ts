/**
 * When a device is tuned: as a model is loaded, once its weights say which classes of shapes there will be. What was found
 * before on the same adapter is taken from the store, and only what is missing is timed.
 */
import { abortable } from "../../abort.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import type { ModelSpec } from "../../model/spec.ts";
import type { Weights } from "../../model/weights/weights.ts";
import { applyChoices, type Choices } from "../choices.ts";
import { tuningKey, tuningStore } from "./store.ts";
import { classesOf, isTuned, type TuneOptions, type TuneProgress, type TuneReport, tune } from "./tuner.ts";

export interface TuningOptions {
  /**
   * `true`: take what was found on this adapter before; time what was not (3 s at most) and keep it. `false`: the default
   * kernels, unless the device was tuned already. Default: take what was found before, time nothing.
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
  const reading = Promise.resolve(tuningStore()?.read(tuningKey(gpu)));
  applyChoices(gpu, (await abortable(reading, signal)) ?? {});
  if (!wanted) return;
  const classes = classesOf(weights, spec).filter((wanted) => !isTuned(gpu, wanted));
  if (classes.length === 0) return;
  await tuneAndKeep(gpu, { classes, onProgress: onTune, signal }, (error) =>
    onNotice?.(`the tuner's choices could not be kept, and will be found again: ${error.message}`),
  );
}

/**
 * Tunes, and keeps each class that was decided, also when the rest is aborted or fails.
 * @param onNotKept told when the store could not be written.
 */
export async function tuneAndKeep(
  gpu: Gpu,
  options: TuneOptions,
  onNotKept: (error: Error) => void,
): Promise<TuneReport> {
  const found: Choices = {};
  const onChoice = (kernelClass: string, kernel: string) => {
    found[kernelClass] = kernel;
  };
  try {
    return await tune(gpu, { ...options, onChoice });
  } finally {
    // Nobody waits for the store once the signal is aborted.
    await abortable(keepChoices(gpu, found).catch(onNotKept), options.signal).catch(() => undefined);
  }
}

/** Adds choices to those that are kept for the device's adapter, in place of older ones of the same classes. */
export async function keepChoices(gpu: Gpu, choices: Choices): Promise<void> {
  const store = tuningStore();
  if (!store || Object.keys(choices).length === 0) return;
  const key = tuningKey(gpu);
  await store.write(key, { ...(await store.read(key)), ...choices });
}
