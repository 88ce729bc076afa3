/** The options of a sweep, and what it needs of a model. */
import { type ModelInput, TOKEN_INPUT, type TokenInput } from "../model/input.ts";
import type { LoadedModel } from "../model/loaded-model.ts";
import type { Model } from "../model/model.ts";
import * as s from "../schema/schema.ts";
import { type CheckedEdit, EDITS, type Edit } from "./edit.ts";
import { type CheckedMetric, METRICS_OF_PROMPTS, type Metric } from "./metrics.ts";
import type { HookedForwardOptions } from "./plan.ts";
import type { ForwardResult } from "./result.ts";

/** A model with captures and edits: `HookedModel`. */
export interface SweepModel extends LoadedModel {
  readonly base: Model;
  /** Edits that every pass makes first. */
  readonly standing: readonly CheckedEdit[];
  forward(input: ModelInput, options?: HookedForwardOptions): Promise<ForwardResult>;
  assertOpen(): void;
}

/** What to sweep over and what to measure. */
export interface SweepOptions {
  /** A prompt, or several, of any lengths: each cell edits each of them. To change embeddings, edit `hook_embed` in the cells. */
  input: TokenInput;
  /** The edits of each cell, as `forward` would take them for all prompts. A cell without edits gives the base value. */
  cells: readonly (Edit | readonly Edit[])[];
  /** One metric, or several that share the passes; with several prompts also a list of them for each, of as many columns. */
  metric: Metric | readonly Metric[] | readonly (readonly Metric[])[];
  /** Position whose logits are measured; negative from the end of each prompt. Default -1. */
  position?: number;
  /** Called after each pass with the cells done, counted once for each prompt. */
  onProgress?: (progress: { done: number; total: number }) => void;
  /** Ends the sweep with `signal.reason`, also during a pass; what the GPU has begun, it finishes. */
  signal?: AbortSignal;
  /** Bytes of GPU memory that the cells of one pass may take. Default 256 MB. */
  memoryBudget?: number;
}

/** The options of a sweep as they are read. */
export type CheckedSweepOptions = Omit<SweepOptions, "cells" | "metric"> & {
  cells: readonly (readonly CheckedEdit[])[];
  metric: readonly CheckedMetric[] | readonly (readonly CheckedMetric[])[];
};

export const MEASURE_FIELDS = { onProgress: s.callback, signal: s.signal, memoryBudget: s.positive } as const;

export const SWEEP_OPTIONS = s.object<SweepOptions, CheckedSweepOptions>("the options of sweep", {
  input: s.required(TOKEN_INPUT),
  cells: s.required(s.list("lists of edits", EDITS)),
  metric: s.required(METRICS_OF_PROMPTS),
  position: s.whole,
  ...MEASURE_FIELDS,
});
