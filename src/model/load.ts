/** Loading a model: source to checkpoint, config to spec, weights to the GPU, tokenizer if there is one. */
import { abortable } from "../abort.ts";
import { CHECKPOINT } from "../checkpoint/checkpoint.ts";
import {
  type Checkpoint,
  type CheckpointProgress,
  type CheckpointSource,
  FilesSource,
  type HubSourceOptions,
  openCheckpoint,
  openSource,
} from "../checkpoint/index.ts";
import { dequantized } from "../checkpoint/quantized/checkpoint.ts";
import { type Quantization, readQuantization } from "../checkpoint/quantized/config.ts";
import { obeying } from "../checkpoint/source-abortable.ts";
import { ConfigError } from "../errors.ts";
import { Gpu } from "../gpu/gpu.ts";
import { warn } from "../gpu/warn.ts";
import { GPU_REQUEST_FIELDS, type GpuRequest, requestGpu } from "../hosts/request.ts";
import * as s from "../schema/schema.ts";
import { loadTokenizer, type Tokenizer } from "../tokenizer/index.ts";
import { watchCallbacks } from "./callbacks.ts";
import { specFromConfig } from "./families/index.ts";
import { resolveTensorName } from "./families/resolve.ts";
import type { TextModel } from "./input.ts";
import type { ModelSpec } from "./spec.ts";
import { type TuningOptions, takeTuning } from "./tuning.ts";
import { type FittedModel, fitCheckpoint } from "./weights/fit.ts";
import { loadWeights } from "./weights/load.ts";
import { neededTensors } from "./weights/needed.ts";
import { isStoredTurned, WEIGHTS_AS, type WeightsAs } from "./weights/plan.ts";
import { RESIDENCIES } from "./weights/residency.ts";
import { type Weights, weightBuffers } from "./weights/weights.ts";

/**
 * Where a model is: a folder, an `http(s)://` prefix, `hf:owner/name[@revision]`, the files a person chose in a
 * browser, or a source of your own.
 */
export type ModelSource = string | readonly File[] | CheckpointSource;

/** Options of `loadModel`. */
export interface LoadOptions extends GpuRequest, Pick<TuningOptions, "tune" | "onTune"> {
  /** A device to share. The model does not end it when destroyed. */
  gpu?: Gpu;
  /** A file other than `model.safetensors`, such as `run/model.safetensors`. The model's other files are taken from beside it. */
  file?: string;
  /** Called as tensors go to the GPU, with the bytes so far. */
  onProgress?: (progress: CheckpointProgress) => void;
  /**
   * Called with what a person should know: tensors that the model leaves out, a tokenizer that cannot be used, an EOS that is no
   * token id, a Hub that is out of reach so that the cache is used, or results that were never destroyed on a device that the load
   * requested. By default notices go to the console, unless `quiet`.
   */
  onNotice?: (message: string) => void;
  /** Refuse NaN and infinite weights; reads every element. */
  checkFinite?: boolean;
  /**
   * Keep every weight as float32 on the GPU. Training needs it. By default bfloat16 and float16 stay as they are, in half the
   * memory; what is computed with them is float32 either way.
   */
  dtype?: "float32";
  /**
   * How matrices lie on the GPU. `as stored` (default): in the checkpoint's types, quantised ones in their blocks. `q8_0` and
   * `q4_0`: quantised while they are read, as ggml's reference does it, to 34 or 18 bytes for 32 weights; the model then computes
   * with other numbers, and `compareModels` says what that costs. `f16`: rounded to float16. Norms, biases and learned positions
   * are float32 in any case.
   */
  weights?: WeightsAs;
  /**
   * Where the weights are between passes. `resident` (default): on the GPU. `streamed`: the matrices of the blocks are read from the
   * source again in each pass, the next block while the GPU computes with this one, so that the model may be larger than the
   * GPU's memory. Results are the same to the bit. The source stays open until the model is destroyed.
   */
  residency?: "resident" | "streamed";
  /**
   * Bytes of weights that may lie on the GPU where they are streamed: as many blocks stay as there is room for. Default: none, so that
   * two blocks lie there at a time, and what is outside of blocks. `superlens inspect` says how much that is.
   */
  residentBytes?: number;
  /**
   * Called after config and tokenizer are read, before a GPU is requested or a weight is read. An error that it throws ends the
   * load, so it can refuse an input that this model cannot run.
   */
  onSpec?: (model: Pick<ModelParts, "spec" | "tokenizer" | "tokenizerError" | "label">) => void;
  /** Ends the load with `signal.reason`, even while it waits. Its GPU memory is freed. */
  signal?: AbortSignal;
}

const OPEN_FIELDS = { file: s.text, onProgress: s.callback, onNotice: s.callback, signal: s.signal } as const;

export const LOAD_OPTIONS = s.object<LoadOptions>("the options of loadModel", {
  ...OPEN_FIELDS,
  ...GPU_REQUEST_FIELDS,
  gpu: s.instance("a Gpu", Gpu),
  checkFinite: s.flag,
  dtype: s.oneOf("float32"),
  weights: s.oneOf(...WEIGHTS_AS),
  residency: s.oneOf(...RESIDENCIES),
  residentBytes: s.wholeFrom(1),
  onSpec: s.callback,
  tune: s.flag,
  onTune: s.callback,
});

const OPEN_OPTIONS = s.object<OpenModelOptions>("the options of openModelSource", OPEN_FIELDS);

const isSource = (value: unknown): value is CheckpointSource =>
  typeof value === "object" && value !== null && "read" in value && typeof value.read === "function";

const isFile = (value: unknown): boolean =>
  typeof value === "object" && value !== null && ("blob" in value ? value.blob : value) instanceof Blob;

/** Where a model is; a `FileList` and a single file as well. */
export const MODEL_SOURCE = s.byForm<ModelSource>(
  "a folder, an address, hf:owner/name, files, or a source of your own",
  (value) => {
    if (typeof value === "string") return s.text;
    if (isSource(value)) return { takes: "a source", read: () => value };
    const files = isFile(value) ? [value] : isIterable(value) ? [...value] : [];
    return files.length > 0 && files.every(isFile)
      ? { takes: "files", read: () => files as unknown as File[] }
      : undefined;
  },
);

const isIterable = (value: unknown): value is Iterable<unknown> =>
  typeof value === "object" && value !== null && Symbol.iterator in value;

/** Options of `openModelSource`: those of `loadModel` that concern files. */
export type OpenModelOptions = Pick<LoadOptions, "file" | "onProgress" | "onNotice" | "signal">;

/** What a model class is made of. */
export interface ModelParts {
  gpu: Gpu;
  spec: ModelSpec;
  weights: Weights;
  tokenizer: Tokenizer | undefined;
  /** Why the checkpoint's tokenizer cannot be used. */
  tokenizerError?: ConfigError | undefined;
  label: string;
  /** `config.json` of the checkpoint. */
  config: Readonly<Record<string, unknown>>;
  ownsGpu: boolean;
}

/**
 * Opens a checkpoint for any kind of source. The caller closes it; its reads obey the signal, too. Downloads from the Hub
 * into the cache report to `onProgress`, too, with the file in place of the tensor.
 */
export async function openModelSource(from: ModelSource, given: OpenModelOptions = {}): Promise<Checkpoint> {
  const source = s.readArgument(MODEL_SOURCE, from, "openModelSource", "source");
  const { options, end } = watchCallbacks(s.readOptions(OPEN_OPTIONS, given, "openModelSource"));
  try {
    return await open(source, options, end);
  } catch (error) {
    end();
    throw error;
  }
}

async function open(
  source: ModelSource,
  options: OpenModelOptions & { signal: AbortSignal },
  onClose = () => {},
): Promise<Checkpoint> {
  const { signal, onProgress, onNotice } = options;
  signal.throwIfAborted();
  const opened = await abortable(resolveSource(source, options), signal);
  const files = obeying(opened.source, signal);
  const close = async () => {
    try {
      await files.close?.();
    } finally {
      onClose();
    }
  };
  return openCheckpoint({ ...files, close }, { file: options.file ?? opened.file, onProgress, onNotice });
}

/** The source that a model is in, and the file in it that was named. The caller closes it. */
export async function resolveSource(
  source: ModelSource,
  { onProgress, onNotice, signal }: OpenModelOptions,
): Promise<{ source: CheckpointSource; file?: string | undefined }> {
  if (typeof source === "string") {
    const onDownload: HubSourceOptions["onDownload"] = ({ file, loaded, total }) =>
      onProgress?.({ loaded, total, tensor: file });
    const http = { signal, onNotice };
    return openSource(source, { url: http, hub: { ...http, onDownload } });
  }
  if ("read" in source) return { source };
  return { source: new FilesSource(source) };
}

/** The spec of an open checkpoint, and the `config.json` that it comes from. */
export async function readSpec(
  checkpoint: Checkpoint,
): Promise<{ spec: ModelSpec; modelType: string; config: Readonly<Record<string, unknown>> }> {
  s.readArgument(CHECKPOINT, checkpoint, "readSpec", "checkpoint");
  const config = await checkpoint.readJson("config.json");
  if (config === undefined) {
    throw new ConfigError(
      "config/missing",
      `${checkpoint.label} has no config.json. It belongs beside the weights and names the architecture.`,
    );
  }
  const spec = specFromConfig(config, `${checkpoint.label}/config.json`);
  return { spec, modelType: spec.family, config: config as Readonly<Record<string, unknown>> };
}

/** A checkpoint and the spec that is loaded from it. */
export interface FittedCheckpoint extends FittedModel {
  /** The weights as numbers to compute with, or in blocks that kernels read, whatever tool quantised them. */
  checkpoint: Checkpoint;
  config: Readonly<Record<string, unknown>>;
}

/**
 * What a model is loaded from: its spec, and the checkpoint whose tensors the spec names.
 * @throws what `readSpec` and `fitCheckpoint` throw
 */
export async function readFitted(
  stored: Checkpoint,
  onNotice: (message: string) => void = () => {},
  { dtype }: Pick<LoadOptions, "dtype"> = {},
): Promise<FittedCheckpoint> {
  const { spec, config } = await readSpec(stored);
  const quantization = readQuantization(config, `${stored.label}/config.json`);
  const checkpoint = quantization ? withNumbers(stored, quantization, spec, dtype === "float32") : stored;
  const fitted = await fitCheckpoint(spec, checkpoint, onNotice);
  if (quantization?.quantizesActivations) onNotice(`${stored.label}: ${ACTIVATIONS_ARE_FLOATS}`);
  return { ...fitted, checkpoint, config };
}

/** Blocks lie along rows as they are stored. So a matrix that is stored [in, out] and has to be turned is read as floats. */
function withNumbers(stored: Checkpoint, quantization: Quantization, spec: ModelSpec, isFloat: boolean): Checkpoint {
  if (isFloat) return dequantized(stored, quantization, () => true);
  const checkpoint = dequantized(stored, quantization);
  const turned = new Set<string>();
  for (const [name, { weight }] of neededTensors(spec)) {
    const source = spec.weights[weight];
    const found = source?.transpose && resolveTensorName(name, (each) => checkpoint.tensors.has(each));
    const info = found && checkpoint.tensors.get(found);
    if (info && isStoredTurned({ source, info })) turned.add(found);
  }
  return turned.size === 0 ? checkpoint : dequantized(stored, quantization, (name) => turned.has(name));
}

const ACTIVATIONS_ARE_FLOATS =
  "this model was made to quantise its activations as it runs, too. Superlens computes with its quantised weights and activations in float32, as transformers does after `dequantize`.";

/** Loads everything a model is made of. On failure nothing stays allocated. */
export async function loadParts(from: ModelSource, given: LoadOptions = {}): Promise<ModelParts> {
  const source = s.readArgument(MODEL_SOURCE, from, "loadModel", "source");
  const read = s.readOptions(LOAD_OPTIONS, given, "loadModel");
  if (read.gpu) refuseRequest(read);
  if (read.dtype !== undefined && read.weights !== undefined)
    s.refuseIdle("loadModel", "weights", "beside dtype, which has every weight as float32");
  if (read.residentBytes !== undefined && read.residency !== "streamed")
    s.refuseIdle("loadModel", "residentBytes", 'without residency: "streamed", since all weights stay');
  const { onNotice: notify = read.quiet ? () => {} : warn } = read;
  const { options, settled, end } = watchCallbacks({ ...read, onNotice: notify });
  const { onNotice, signal } = options;
  let stored: Checkpoint | undefined;
  let gpu: Gpu | undefined;
  try {
    stored = await open(source, options);
    const { spec, checkpoint, config } = await readFitted(stored, onNotice, read);
    const text = await openTokenizer(checkpoint, spec, onNotice);
    if (text.tokenizerError) onNotice(withoutTokenizer(text.tokenizerError));
    await abortable(Promise.resolve(options.onSpec?.({ spec, ...text, label: checkpoint.label })), signal);
    const { adapter, powerPreference, onAdapter, quiet } = options;
    gpu = options.gpu ?? new Gpu(await requestGpu({ adapter, powerPreference, onAdapter, quiet, signal }));
    if (!options.gpu) gpu.onNotice = notify;
    const weights = await loadTuned(gpu, spec, checkpoint, options, settled);
    const { label } = checkpoint;
    if (!options.gpu) gpu.endWhenForgotten(`the model ${label}`, quiet);
    if (!weights.stream) await stored.close();
    return { gpu, spec, weights, ...text, label, config, ownsGpu: !options.gpu };
  } catch (error) {
    if (!options.gpu) {
      if (signal.aborted) void gpu?.destroyWhenIdle();
      else gpu?.destroy();
    }
    await stored?.close();
    throw error;
  } finally {
    end();
  }
}

/** A device that is given was chosen before; what says which one would do nothing. */
function refuseRequest({ adapter, powerPreference, onAdapter }: LoadOptions): void {
  for (const [name, value] of Object.entries({ adapter, powerPreference, onAdapter }))
    if (value !== undefined) s.refuseIdle("loadModel", name, "beside gpu, which has an adapter already");
}

/** The tokenizer of an open checkpoint, or why it cannot be used: the model takes token ids all the same. */
export async function openTokenizer(
  checkpoint: Checkpoint,
  { family: modelType, vocabSize }: ModelSpec,
  onNotice?: (message: string) => void,
): Promise<TextModel> {
  const files = {
    json: (name: string) => checkpoint.readJson(name),
    text: (name: string) => checkpoint.readText(name),
  };
  try {
    return { tokenizer: await loadTokenizer(files, { modelType, vocabSize, onNotice }) };
  } catch (error) {
    if (!(error instanceof ConfigError && error.code.startsWith("tokenizer/"))) throw error;
    return { tokenizer: undefined, tokenizerError: error };
  }
}

function withoutTokenizer(error: ConfigError): string {
  return `the model takes token ids only, and generation ends at no EOS unless \`eos\` is given: ${error.message}`;
}

/** Loads the weights, lets the device use what is known to be fast for them, and waits until callbacks have `settled`. */
async function loadTuned(
  gpu: Gpu,
  spec: ModelSpec,
  checkpoint: Checkpoint,
  options: LoadOptions,
  settled: () => Promise<void>,
): Promise<Weights> {
  const weights = await loadWeights(gpu, spec, checkpoint, options);
  try {
    await takeTuning(gpu, spec, weights, options);
    await settled();
    return weights;
  } catch (error) {
    for (const buffer of weightBuffers(weights)) gpu.destroyBuffer(buffer);
    throw error;
  }
}
