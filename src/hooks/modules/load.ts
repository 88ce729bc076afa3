/** Loading a dictionary: where it is, which format it has, its settings and tensors, and its weights on the GPU. */
import { abortable } from "../../abort.ts";
import type { CheckpointProgress, CheckpointSource } from "../../checkpoint/index.ts";
import { readJsonFile } from "../../checkpoint/json-file.ts";
import { readNpz } from "../../checkpoint/npz.ts";
import { readHeader } from "../../checkpoint/read-header.ts";
import { obeying } from "../../checkpoint/source-abortable.ts";
import { CheckpointError } from "../../errors.ts";
import { MODEL_SOURCE, type ModelSource } from "../../model/load.ts";
import type { ModuleWeights } from "../../model/weights/weights.ts";
import * as s from "../../schema/schema.ts";
import { MODEL } from "../call.ts";
import type { HookedModel } from "../hooked-model.ts";
import { type BlockHooks, blockHooks, readCrossLayer, readTranscoders } from "./circuit-tracer.ts";
import { Dictionary } from "./dictionary.ts";
import { dtypeOf, type FoundDictionary, type FoundTensor, Tensors } from "./found.ts";
import { readGemmaScope } from "./gemma-scope.ts";
import { openPlace } from "./place.ts";
import { readSaeLens } from "./sae-lens.ts";
import { readSparsify } from "./sparsify.ts";
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
  /** Told what a person should know of it. Default: a warning on the console. */
  onNotice?: (message: string) => void;
  /** Ends the load with `signal.reason`. Its GPU memory is freed. */
  signal?: AbortSignal;
}

export const DICTIONARY_OPTIONS = s.object<DictionaryOptions>("the options of loadDictionary", {
  hook: s.text,
  hookOut: s.text,
  onProgress: s.callback,
  onNotice: s.callback,
  signal: s.signal,
});

/**
 * Loads a dictionary for a model: a folder, an address, `hf:owner/name/path`, or files of
 *
 * - SAELens: `cfg.json` and `sae_weights.safetensors`
 * - Gemma Scope: `params.npz`
 * - sparsify: `cfg.json` and `sae.safetensors`
 * - circuit-tracer: `layer_i.safetensors`, or across layers `W_enc_i.safetensors` and `W_dec_i.safetensors`
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
    const tell = read.onNotice ?? ((message: string) => console.warn(`superlens: ${message}`));
    for (const notice of found.notices ?? []) tell(notice);
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
  const { source: opened, file } = await abortable(openPlace(place, options), signal);
  const files = obeying(opened, signal);
  try {
    return await body(await readFormat(files, file, options));
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

/** The layers of a model at most, where files are numbered by them and cannot be listed. */
const MOST_LAYERS = 512;

async function readFormat(
  files: CheckpointSource,
  chosen: string | undefined,
  options: DictionaryOptions,
): Promise<FoundDictionary> {
  const { label } = files;
  if (chosen !== undefined) return readFile(files, chosen, options);
  if (await files.exists("sae_weights.safetensors"))
    return readSaeLens(label, await settingsOf(files), await tensorsIn(files, "sae_weights.safetensors"), options);
  if (await files.exists("sae.safetensors"))
    return readSparsify(label, await settingsOf(files), await tensorsIn(files, "sae.safetensors"), options);
  if (await files.exists("params.npz")) return readFile(files, "params.npz", options);
  if (await files.exists("W_enc_0.safetensors"))
    return readCrossLayer(label, await crossLayers(files), await hooksOfBlocks(files, options));
  const layers = await layersOf(files);
  if (layers.size > 0) return readTranscoders(label, layers, await hooksOfBlocks(files, options));
  throw new CheckpointError(
    "module/format",
    `${label} is no dictionary of a format that is read here. It has no sae_weights.safetensors (SAELens), sae.safetensors (sparsify), params.npz (Gemma Scope), layer_0.safetensors or W_enc_0.safetensors (circuit-tracer). Name the folder that has one.`,
  );
}

/** One file that was named: an archive of Gemma Scope, or one of circuit-tracer's layers. */
async function readFile(files: CheckpointSource, file: string, options: DictionaryOptions): Promise<FoundDictionary> {
  if (file.endsWith(".npz")) return readGemmaScope(files.label, await arraysIn(files, file), options);
  const layer = /^layer_(\d+)\.safetensors$/.exec(file)?.[1];
  if (layer === undefined) return readFormat(files, undefined, options);
  const layers = new Map([[Number(layer), await tensorsIn(files, file)]]);
  return readTranscoders(`${files.label}/${file}`, layers, await hooksOfBlocks(files, options));
}

async function hooksOfBlocks(files: CheckpointSource, options: DictionaryOptions): Promise<BlockHooks> {
  const isThere = await files.exists("config.yaml");
  const yaml = isThere ? new TextDecoder().decode(await files.readAll("config.yaml")) : undefined;
  return blockHooks(files.label, yaml, options);
}

async function layersOf(files: CheckpointSource): Promise<Map<number, Tensors>> {
  const layers = new Map<number, Tensors>();
  for (let layer = 0; layer < MOST_LAYERS && (await files.exists(`layer_${layer}.safetensors`)); layer++)
    layers.set(layer, await tensorsIn(files, `layer_${layer}.safetensors`));
  return layers;
}

async function crossLayers(files: CheckpointSource): Promise<Tensors[]> {
  const layers: Tensors[] = [];
  for (let layer = 0; layer < MOST_LAYERS && (await files.exists(`W_enc_${layer}.safetensors`)); layer++)
    layers.push(await tensorsIn(files, `W_enc_${layer}.safetensors`, `W_dec_${layer}.safetensors`));
  return layers;
}

async function settingsOf(files: CheckpointSource): Promise<unknown> {
  if (await files.exists("cfg.json")) return readJsonFile(files, "cfg.json");
  throw new CheckpointError(
    "module/format",
    `${files.label} has no cfg.json. It belongs beside the weights and says what they are.`,
  );
}

/** The tensors of safetensors files. */
async function tensorsIn(files: CheckpointSource, ...names: readonly string[]): Promise<Tensors> {
  const found = new Map<string, FoundTensor>();
  for (const file of names) {
    const { tensors } = await readHeader(files, file);
    for (const { name, shape, dtype, byteStart, byteLength } of tensors) {
      found.set(name, {
        ...{ name, file, shape, byteLength, dtype: dtypeOf(files.label, name, dtype) },
        read: (start, end) => files.read(file, byteStart + start, byteStart + end),
      });
    }
  }
  return new Tensors(`${files.label}/${names[0]}`, found);
}

/** The arrays of an archive, which has to be unpacked whole. */
async function arraysIn(files: CheckpointSource, file: string): Promise<Tensors> {
  const arrays = await readNpz(files, file);
  const found = arrays.map(({ name, dtype, shape, bytes }): [string, FoundTensor] => [
    name,
    {
      ...{ name, file, shape, dtype, byteLength: bytes.length },
      read: async (start, end) => bytes.subarray(start, end),
    },
  ]);
  return new Tensors(`${files.label}/${file}`, new Map(found));
}
