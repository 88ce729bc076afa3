/** `--module DIR`: dictionaries of features that a command splices into its model. */
import type { Command } from "commander";
import { Option } from "commander";
import { type Dictionary, type HookedModel, inspectDictionary, loadDictionary } from "../hooks/index.ts";
import { splicedSpec } from "../hooks/modules/splice.ts";
import { collect, usageError } from "./options.ts";
import type { ModelFacts } from "./session.ts";
import { stop } from "./stop.ts";

/** The dictionaries of a command. */
export interface ModuleOptions {
  module?: string[];
  /** False: the reconstruction goes on without its error. */
  error: boolean;
}

export function addModuleOptions(command: Command): Command {
  const meaning =
    "a dictionary (SAE or transcoder) to splice in at its own hook: folder, address or hf:owner/name/path; repeatable";
  return command
    .addOption(new Option("--module <dir>", meaning).argParser(collect(String)))
    .option(
      "--no-error",
      "let the reconstruction of --module go on alone, without the error that keeps the pass as it was",
    );
}

export function checkModuleOptions(command: Command, { module, error }: ModuleOptions): void {
  if (!error && !module)
    usageError(command, "--no-error is about the dictionary that --module splices in; give one, or leave it out");
}

/** The model with its dictionaries, before either has weights. */
export async function moduleFacts(facts: ModelFacts, { module = [], error }: ModuleOptions): Promise<ModelFacts> {
  if (module.length === 0) return facts;
  const known = [];
  for (const source of module) known.push(await inspectDictionary(source, { signal: stop.signal }));
  return { ...facts, spec: splicedSpec(facts.spec, known, error) };
}

/** Does a command's work with the dictionaries spliced into its model. */
export async function withDictionaries<T>(
  model: HookedModel,
  { module = [], error }: ModuleOptions,
  body: (spliced: HookedModel) => Promise<T>,
): Promise<T> {
  if (module.length === 0) return body(model);
  const dictionaries: Dictionary[] = [];
  try {
    for (const source of module) dictionaries.push(await loadDictionary(model, source, { signal: stop.signal }));
    using spliced = model.withModules(dictionaries, { error });
    return await body(spliced);
  } finally {
    for (const dictionary of dictionaries) dictionary.destroy();
  }
}
