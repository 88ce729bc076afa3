/** Loading a dictionary: where it is, which format it has, its settings and tensors, and its weights on the GPU. */
import { abortable } from "../../abort.ts";
import { type CheckpointProgress, type CheckpointSource, openCheckpoint } from "../../checkpoint/index.ts";
import { readJsonFile } from "../../checkpoint/json-file.ts";
import { obeying } from "../../checkpoint/source-abortable.ts";
import { CheckpointError } from "../../errors.ts";
import { MODEL_SOURCE, type ModelSource, resolveSource } from "../../model/load.ts";
import type { ModuleWeights } from "../../model/weights/weights.ts";
import * as s from "../../schema/schema.ts";
import { MODEL } from "../call.ts";
import type { HookedModel } from "../hooked-model.ts";
import { Dictionary } from "./dictionary.ts";
import { dtypeOf, type FoundDictionary, type FoundTensor, Tensors } from "./found.ts";
import { readSaeLens } from "./sae-lens.ts";
import { checkModule, type KnownDictionary } from "./splice.ts";
import { loadModuleWeights } from "./weights.ts";

/** Options of `loadDictionary`. */
export interface DictionaryOptions {
  /** The point that it reads, where its files do not say it or are to be overruled. */
  hook?: string;
  /** The point that it gives, of a transcoder. */
  hookOut?: string;
  /** Called as tensors go to the GPU, with the bytes so far. */
  onProgress?: (progress: CheckpointProgress) => void;
  /** Ends the load with `signal.reason`. Its GPU memory is freed. */
  signal?: AbortSignal;
}

export const DICTIONARY_OPTIONS = s.object<DictionaryOptions>("the options of loadDictionary", {
  hook: s.text,
  hookOut: s.text,
  onProgress: s.callback,
  signal: s.signal,
});

/**
 * Loads a dictionary for a model: a folder, an address, `hf:owner/name/path`, or files of
 *
 * - SAELens: `cfg.json` and `sae_weights.safetensors`
 *
 * Its hooks and shapes are checked against the model. Its weights keep their type; NaN and infinity are refused.
 *
 *     using sae = await loadDictionary(model, "./gpt2-sae");
 *     using spliced = model.withModules(sae);
 *
 * @throws ConfigError `module/setting`, `module/shape`, `module/format`; CheckpointError `module/tensor`, `module/not-finite`;
 * HookError `hook/no-such-point`, `module/hook`; GpuError out of memory.
 */
export async function loadDictionary(
  model: HookedModel,
  source: ModelSource,
  options: DictionaryOptions = {},
): Promise<Dictionary> {
  s.readArgument(MODEL, model, "loadDictionary", "model");
  const read = s.readOptions(DICTIONARY_OPTIONS, options, "loadDictionary");
  model.assertOpen();
  return withFiles(source, read, async (found) => {
    for (const { spec } of found.modules) checkModule(model.spec, spec, found.label);
    return load(model, found, read);
  });
}

/** What a dictionary is, from its settings and the headers of its files alone. @throws as `loadDictionary` */
export async function inspectDictionary(
  source: ModelSource,
  options: DictionaryOptions = {},
): Promise<KnownDictionary> {
  const read = s.readOptions(DICTIONARY_OPTIONS, options, "inspectDictionary");
  return withFiles(source, read, async ({ label, modules }) => ({ label, modules: modules.map(({ spec }) => spec) }));
}

/** Opens the files of a dictionary for the length of `body`. */
async function withFiles<T>(
  source: ModelSource,
  options: DictionaryOptions,
  body: (found: FoundDictionary) => Promise<T>,
): Promise<T> {
  const place = s.readArgument(MODEL_SOURCE, source, "loadDictionary", "source");
  const { signal } = options;
  signal?.throwIfAborted();
  const opened = await abortable(resolveSource(place, options), signal);
  const files = obeying(opened.source, signal);
  try {
    return await body(await readFormat(files, options));
  } finally {
    await files.close?.();
  }
}

async function load(
  { gpu }: HookedModel,
  found: FoundDictionary,
  { signal, onProgress }: DictionaryOptions,
): Promise<Dictionary> {
  const buffers: GPUBuffer[] = [];
  const total = bytesOf(found);
  let loaded = 0;
  const loading = {
    ...{ gpu, signal },
    own: (buffer: GPUBuffer) => buffers.push(buffer),
    onBytes(bytes: number, tensor: string) {
      loaded = Math.min(total, loaded + bytes);
      onProgress?.({ loaded, total, tensor });
    },
  };
  try {
    const weights: ModuleWeights[] = [];
    for (const module of found.modules) weights.push(await loadModuleWeights(loading, module));
    const specs = found.modules.map(({ spec }) => spec);
    return new Dictionary(gpu, found.label, found.format, found.config, specs, weights, buffers);
  } catch (error) {
    for (const buffer of buffers) gpu.destroyBuffer(buffer);
    throw error;
  }
}

function bytesOf({ modules }: FoundDictionary): number {
  const sizes = modules.flatMap(({ matrices, vectors }) => [
    ...Object.values(matrices).map(({ tensor }) => tensor),
    ...Object.values(vectors).filter((each): each is FoundTensor => each !== undefined),
  ]);
  return sizes.reduce((sum, { byteLength }) => sum + byteLength, 0);
}

async function readFormat(files: CheckpointSource, options: DictionaryOptions): Promise<FoundDictionary> {
  const { label } = files;
  if (await files.exists("sae_weights.safetensors"))
    return readSaeLens(label, await settingsOf(files), await tensorsIn(files, "sae_weights.safetensors"), options);
  throw new CheckpointError(
    "module/format",
    `${label} is no dictionary of a format that is read here: it has no sae_weights.safetensors (SAELens).`,
  );
}

async function settingsOf(files: CheckpointSource): Promise<unknown> {
  if (await files.exists("cfg.json")) return readJsonFile(files, "cfg.json");
  throw new CheckpointError(
    "module/format",
    `${files.label} has no cfg.json. It belongs beside the weights and says what they are.`,
  );
}

/** The tensors of a safetensors file. */
async function tensorsIn(files: CheckpointSource, file: string): Promise<Tensors> {
  // A checkpoint closes its source, which is closed here.
  const checkpoint = await openCheckpoint({ ...bound(files) }, { file });
  const tensors = [...checkpoint.tensors].map(([name, info]): [string, FoundTensor] => [
    name,
    {
      ...{ name, file: info.file, shape: info.shape, byteLength: info.byteLength },
      dtype: dtypeOf(files.label, name, info.dtype),
      read: (start, end) => checkpoint.read(name, start, end),
    },
  ]);
  return new Tensors(`${files.label}/${file}`, new Map(tensors));
}

function bound(files: CheckpointSource): CheckpointSource {
  return {
    label: files.label,
    exists: (file) => files.exists(file),
    size: (file) => files.size(file),
    read: (file, start, end) => files.read(file, start, end),
    readAll: (file, maxBytes) => files.readAll(file, maxBytes),
  };
}
