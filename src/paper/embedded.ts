/** The models that ship with the package, in weights/: small presets, which scripts/train-weights.ts trained. */
import type { ModelSource } from "../model/load.ts";
import type { AnyFigure } from "./figure.ts";
import type { TrainingPresetName } from "./preset-spec.ts";

/** In the order in which they are trained. */
export const EMBEDDED_MODELS = [
  "lc-mix10",
  "lc-d16",
  "lc-d32",
  "lc",
  "mini",
] as const satisfies readonly TrainingPresetName[];

/** It superposes within prompts, on two families of tasks. */
const USUAL = "lc-mix10";

/** The models that a figure is made for where none is given. `folder` is that of the embedded models, on disk or an address. */
export function defaultModels(figure: AnyFigure, folder: string, { quick = false } = {}): readonly ModelSource[] {
  return figure.models?.(folder, quick) ?? [`${folder}/${USUAL}`];
}
