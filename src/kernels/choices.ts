/**
 * Which kernel the tuner found for each class of work, on each device: names under keys, as they are kept between runs.
 * Who looks one up ignores a name that is no kernel of this version.
 */
import type { Gpu } from "../gpu/gpu.ts";

/** Names of kernels by class. */
export type Choices = Record<string, string>;

const tuned = new WeakMap<Gpu, Map<string, string>>();

/** Takes choices over, in place of older ones of the same classes. */
export function applyChoices(gpu: Gpu, choices: Choices): void {
  const map = tuned.get(gpu) ?? new Map<string, string>();
  for (const [key, name] of Object.entries(choices)) map.set(key, name);
  tuned.set(gpu, map);
}

/** The name of the device's choice for a class, if there is one. */
export function choiceFor(gpu: Gpu, key: string): string | undefined {
  return tuned.get(gpu)?.get(key);
}
