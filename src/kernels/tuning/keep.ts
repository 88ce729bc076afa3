/** Tunes, and keeps the choices for later runs on the same adapter. */
import { abortable } from "../../abort.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import { type Choices, tuningKey, tuningStore } from "./store.ts";
import { applyChoices, type TuneOptions, type TuneReport, tune } from "./tuner.ts";

/** Lets the device use what was kept for its adapter, in place of older choices of the same classes. */
export async function takeKept(gpu: Gpu, signal: AbortSignal | undefined): Promise<void> {
  const reading = Promise.resolve(tuningStore()?.read(tuningKey(gpu)));
  applyChoices(gpu, (await abortable(reading, signal)) ?? {});
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
async function keepChoices(gpu: Gpu, choices: Choices): Promise<void> {
  const store = tuningStore();
  if (!store || Object.keys(choices).length === 0) return;
  const key = tuningKey(gpu);
  await store.write(key, { ...(await store.read(key)), ...choices });
}
