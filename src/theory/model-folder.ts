/**
 * A constructed model as files, and back: `config.json` (the spec, and what the model was built to compute) beside
 * `model.safetensors`. Any tool that reads safetensors can open it, and `loadModel` loads it like any other model.
 */
import {
  FilesSource,
  f32ToBf16,
  f32ToF16,
  type LazyTensorEntry,
  type TensorEntry,
  writeSafetensors,
} from "../checkpoint/index.ts";
import { ConfigError } from "../errors.ts";
import { type HookedModel, loadModel } from "../hooks/index.ts";
import {
  LOAD_OPTIONS,
  type LoadOptions,
  type ModelSource,
  type OpenModelOptions,
  openModelSource,
} from "../model/load.ts";
import type { ModelSpec } from "../model/spec.ts";
import * as s from "../schema/schema.ts";
import { type Blueprint, type SuperpositionModel, superpositionConfig } from "./build.ts";
import { asDefinition } from "./definition-form.ts";
import { planConstruction } from "./plan.ts";
import { BOS_TOKEN, compileTasks } from "./tasks.ts";

/** How the file stores the weights. The construction's error bounds are for F32. */
export type WeightDtype = "F32" | "F16" | "BF16";

/** Goes into the file's header: loaders of Python's frameworks look for it. */
export const FILE_METADATA = { format: "pt" };

const BUILT = s.madeObject<SuperpositionModel>("a model, made by buildSuperposition()", "program", "layout", "weights");
const DTYPE = s.oneOf<WeightDtype>("F32", "F16", "BF16");

const PACK: Record<WeightDtype, (values: Float32Array<ArrayBuffer>) => TensorEntry["data"]> = {
  F32: (values) => values,
  F16: f32ToF16,
  BF16: f32ToBf16,
};

/** The text of `config.json`. */
export function configText(model: SuperpositionModel): string {
  return `${JSON.stringify(superpositionConfig(model), null, 2)}\n`;
}

/** What `model.safetensors` holds, each tensor made when its turn comes. */
export function tensorEntries(
  { weights }: Pick<SuperpositionModel, "weights">,
  dtype: WeightDtype = "F32",
): LazyTensorEntry[] {
  return [...weights].map(([name, matrix]) => ({
    name,
    dtype,
    shape: matrix.shape,
    data: async () => PACK[dtype](matrix.toFloat32()),
  }));
}

/** The model folder, whole: contents by file name. The same model gives the same bytes. */
export function modelFiles(model: SuperpositionModel, dtype: WeightDtype = "F32"): Map<string, Uint8Array> {
  s.readArgument(BUILT, model, "modelFiles", "model");
  s.readArgument(DTYPE, dtype, "modelFiles", "dtype");
  const entries = [...model.weights].map(
    ([name, matrix]): TensorEntry => ({ name, dtype, shape: matrix.shape, data: PACK[dtype](matrix.toFloat32()) }),
  );
  return new Map([
    ["config.json", new TextEncoder().encode(configText(model))],
    ["model.safetensors", writeSafetensors(entries, FILE_METADATA)],
  ]);
}

/** The model folder in memory: what `loadModel` takes, without a disk. */
export function inMemory(model: SuperpositionModel, dtype: WeightDtype = "F32"): FilesSource {
  return FilesSource.of(modelFiles(model, dtype), `the constructed model "${model.program.definition.name}"`);
}

/** A constructed model on the GPU, with the blueprint that gives its numbers their meaning. */
export interface LoadedSuperposition {
  model: HookedModel;
  blueprint: Blueprint;
}

/**
 * Loads a constructed model from wherever `loadModel` can.
 * Throws what `loadModel` throws, and `ConfigError` `config/not-constructed` for a model that is none.
 */
export async function loadSuperposition(source: ModelSource, options: LoadOptions = {}): Promise<LoadedSuperposition> {
  const { file, onNotice, signal } = s.readOptions(LOAD_OPTIONS, options, "loadSuperposition");
  const blueprint = await readBlueprint(source, { file, onNotice, signal });
  return { blueprint, model: await loadModel(source, options) };
}

/** Reads what a constructed model was built to compute, without loading it. */
export async function readBlueprint(source: ModelSource, options: OpenModelOptions = {}): Promise<Blueprint> {
  const checkpoint = await openModelSource(source, options);
  try {
    return blueprintOf(await checkpoint.readJson("config.json"), `${checkpoint.label}/config.json`);
  } finally {
    await checkpoint.close();
  }
}

/** What a `config.json` says about the construction. @throws ConfigError `config/not-constructed` */
function blueprintOf(config: unknown, label: string): Blueprint {
  const { spec, superposition } = (config ?? {}) as Partial<ReturnType<typeof superpositionConfig>>;
  if (spec === undefined || superposition === undefined) {
    throw new ConfigError(
      "config/not-constructed",
      `${label} has no "superposition" section, so this is no constructed model. Build one with superlens construct.`,
    );
  }
  const { definition, examples, constants, stages } = superposition;
  const program = compileTasks(asDefinition(definition, `${label}, superposition`));
  const { layout } = planConstruction(program, { examples, ...constants });
  checkSize(label, "dModel", spec.dModel, layout.dModel);
  checkSize(label, "vocabSize", spec.vocabSize, program.vocabularySize + 1);
  const vocabulary = [...definition.vocabulary, BOS_TOKEN];
  return { spec, program, layout, examples, constants, stages, vocabulary };
}

function checkSize(label: string, what: keyof ModelSpec, found: number, expected: number): void {
  if (found === expected) return;
  throw new ConfigError(
    "config/not-constructed",
    `${label}: spec.${what} is ${found}, but its tasks need ${expected}. They belong to different models; build it again.`,
  );
}
