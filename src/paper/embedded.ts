/** The models that ship with the package, in weights/: small presets, which scripts/train-weights.ts trained. */
import type { TrainingPresetName } from "./preset-spec.ts";

export const EMBEDDED_MODELS = [
  "lc-mix10",
  "lc-d16",
  "lc-d32",
  "lc",
  "mini",
] as const satisfies readonly TrainingPresetName[];
