/**
 * A loaded model for the length of a command. An input that it cannot run is refused before it loads. Progress is shown while
 * it loads and while kernels are timed for it. The GPU's memory is freed however the command ends.
 */
import { basename } from "node:path";
import { type HookedModel, loadModel } from "../hooks/index.ts";
import type { LoadOptions, ModelSource } from "../model/load.ts";
import type { GlobalOptions } from "./options.ts";
import { note } from "./output.ts";
import { showProgress, showTuning } from "./progress.ts";
import { stop } from "./stop.ts";

/** What is known of a model before its weights: spec, tokenizer and label. */
export type ModelFacts = Parameters<NonNullable<LoadOptions["onSpec"]>>[0];

/** What a command does with a model. */
export interface Work<Prepared, Result> {
  /** Checks all that needs no weights, before a GPU is requested. An error that it throws ends the command. */
  prepare(facts: ModelFacts): Prepared | Promise<Prepared>;
  run(model: HookedModel, prepared: Prepared): Promise<Result>;
}

/** Loads the model that `source` names, does the work with it and frees it. */
export async function withModel<Prepared, Result>(
  source: ModelSource,
  options: GlobalOptions & Pick<LoadOptions, "dtype">,
  { prepare, run }: Work<Prepared, Result>,
): Promise<Result> {
  let prepared: { value: Prepared } | undefined;
  const model = await load(source, options, async (facts) => {
    prepared = { value: await prepare(facts) };
  });
  try {
    return await run(model, (prepared as { value: Prepared }).value);
  } finally {
    model.destroy();
  }
}

/** Options of every command that opens a model: Ctrl-C ends it, and notices reach the person. */
export function whileOpening(quiet = false): Pick<LoadOptions, "signal" | "onNotice"> {
  return { signal: stop.signal, ...(!quiet && { onNotice: (message: string) => note(`superlens: ${message}`) }) };
}

/** Loads a model with its progress shown. The caller frees it. */
export async function load(
  source: ModelSource,
  { adapter, quiet = false, checkFinite, tune, dtype, weightsAs, ...where }: GlobalOptions & Pick<LoadOptions, "dtype">,
  onSpec?: (facts: ModelFacts) => Promise<void>,
): Promise<HookedModel> {
  const progress = showProgress(labelOf(source), quiet);
  const tuning = showTuning(quiet);
  try {
    return await loadModel(source, {
      adapter,
      quiet,
      checkFinite,
      dtype,
      weights: weightsAs,
      residency: where.residency,
      residentBytes: where.residentBytes,
      ...whileOpening(quiet),
      ...(onSpec && { onSpec }),
      onProgress: progress.update,
      tune,
      onTune(event) {
        progress.end();
        tuning.update(event);
      },
    });
  } finally {
    progress.end();
    tuning.end();
  }
}

const labelOf = (source: ModelSource) =>
  typeof source === "string" ? basename(source) : "label" in source ? source.label : "files";
