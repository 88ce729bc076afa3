/**
 * A loaded model for the length of a command: progress while it loads and while kernels are timed for it, and the GPU's
 * memory freed however it ends.
 */
import { basename } from "node:path";
import { type HookedModel, loadModel } from "../hooks/index.ts";
import type { LoadOptions } from "../model/load.ts";
import type { GlobalOptions } from "./options.ts";
import { note } from "./output.ts";
import { showProgress, showTuning } from "./progress.ts";
import { stop } from "./stop.ts";

/** Loads the model that `source` names, runs `body` with it and frees it. */
export async function withModel<T>(
  source: string,
  options: GlobalOptions,
  body: (model: HookedModel) => Promise<T>,
): Promise<T> {
  const model = await load(source, options);
  try {
    return await body(model);
  } finally {
    model.destroy();
  }
}

/** What every command that opens a model passes on: Ctrl-C ends it, and notices reach the person. */
export function whileOpening(quiet = false): Pick<LoadOptions, "signal" | "onNotice"> {
  return { signal: stop.signal, ...(!quiet && { onNotice: (message: string) => note(`superlens: ${message}`) }) };
}

async function load(
  source: string,
  { adapter, quiet = false, checkFinite, tune }: GlobalOptions,
): Promise<HookedModel> {
  const progress = showProgress(basename(source), quiet);
  const tuning = showTuning(quiet);
  try {
    return await loadModel(source, {
      adapter,
      quiet,
      checkFinite,
      ...whileOpening(quiet),
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
