/** The models that ship with the package, in weights/: small presets, which scripts/train-weights.ts trained. */
import type { ModelSource } from "../model/load.ts";
import * as s from "../schema/schema.ts";
import type { AnyFigure } from "./figure.ts";
import type { TrainingPresetName } from "./preset-spec.ts";
import { FIGURE } from "./runs.ts";

/** In the order in which they are trained. */
export const EMBEDDED_MODELS = [
  "lc-mix10",
  "lc-d16",
  "lc-d32",
  "lc",
  "number-chars-mix10",
] as const satisfies readonly TrainingPresetName[];

/** It superposes within prompts, on two families of tasks. */
const USUAL = "lc-mix10";

/** Options of `defaultModels`. */
export interface DefaultModelsOptions {
  /** Of the figure with fewer cells. */
  quick?: boolean;
}

export const DEFAULT_MODELS_OPTIONS = s.object<DefaultModelsOptions>("the options of defaultModels", { quick: s.flag });

/** Those that a report asks, where none is given: trained on pure prompts, and on prompts of which a tenth is of another task. */
export const REPORTED_MODELS = ["lc", USUAL] as const;

/** The models that a figure is made for where none is given. `folder` is that of the embedded models: `weights/`, or its address. */
export function defaultModels(
  figure: AnyFigure,
  folder: string,
  options: DefaultModelsOptions = {},
): readonly ModelSource[] {
  s.readArgument(FIGURE, figure, "defaultModels", "figure");
  const place = s.readArgument(s.text, folder, "defaultModels", "folder").replace(/\/$/, "");
  const { quick = false } = s.readOptions(DEFAULT_MODELS_OPTIONS, options, "defaultModels");
  return figure.models?.(place, quick) ?? [`${place}/${USUAL}`];
}
