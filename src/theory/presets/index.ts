/** The task families that ship with superlens, by name. Each has a file of its own, loaded on demand. */

import type { TaskDefinition } from "../definition.ts";
import { TheoryError } from "../errors.ts";

const PRESETS = {
  arithmetic: async () => (await import("./arithmetic.ts")).arithmetic(),
  languages: async () => (await import("./languages.ts")).languages(),
  country: async () => (await import("./country.ts")).country(),
  letters: async () => (await import("./letters.ts")).letters(),
  retrieval: async () => (await import("./retrieval.ts")).retrieval(),
  plus: async () => (await import("./plus.ts")).plus(),
} satisfies Record<string, () => Promise<TaskDefinition>>;

/** The name of a task definition that the package brings. */
export type PresetName = keyof typeof PRESETS;

/** The task definitions that the package brings. */
export const PRESET_NAMES = Object.keys(PRESETS) as PresetName[];

/** The definition of a preset with its default sizes. Throws `theory/definition` for an unknown name. */
export function loadPreset(name: string): Promise<TaskDefinition> {
  const preset = PRESET_NAMES.find((candidate) => candidate === name);
  if (preset !== undefined) return PRESETS[preset]();
  throw new TheoryError("theory/definition", `no preset "${String(name)}"; presets are ${PRESET_NAMES.join(", ")}`);
}
