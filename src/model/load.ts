/** Loading a model: source to checkpoint, config to spec, weights to the GPU, tokenizer if there is one. */
import {
  type Checkpoint,
  type CheckpointProgress,
  type CheckpointSource,
  FilesSource,
  type HubSourceOptions,
  openCheckpoint,
  openSource,
} from "../checkpoint/index.ts";
import { ConfigError } from "../errors.ts";
import { Gpu } from "../gpu/gpu.ts";
import { type GpuRequest, requestGpu } from "../gpu/host.ts";
import { loadTokenizer, type Tokenizer } from "../tokenizer/index.ts";
import { specFromConfig } from "./families/index.ts";
import { loadWeights } from "./load-weights.ts";
import type { ModelSpec } from "./spec.ts";
import { type TuningOptions, takeTuning } from "./tuning/take.ts";
import { type Weights, weightBuffers } from "./weights.ts";

/**
 * Where a model is: a folder, an `http(s)://` prefix, `hf:owner/name[@revision]`, the files a person chose in a
 * browser, or a source of your own.
 */
export type ModelSource = string | readonly File[] | CheckpointSource;

/** Options of `loadModel`. */
export interface LoadOptions extends GpuRequest, Pick<TuningOptions, "tune" | "onTune"> {
  /** A device to share; the model then leaves it alone when destroyed. */
  gpu?: Gpu;
  /** Another file than `model.safetensors`. */
  file?: string;
  /** Called with bytes of tensors as they go to the GPU. */
  onProgress?: (progress: CheckpointProgress) => void;
  /**
   * Told what a person should know, such as that the Hub is out of reach and the cache is used, or, of a device that the load
   * requests, that results were never destroyed (`Gpu.onNotice`, by default `console.warn`).
   */
  onNotice?: (message: string) => void;
  /** Refuse NaN and infinite weights; reads every element. */
  checkFinite?: boolean;
  /** Ends the load with `signal.reason`; what is on the GPU by then is freed. */
  signal?: AbortSignal;
}

export type OpenModelOptions = Pick<LoadOptions, "file" | "onProgress" | "onNotice">;

/** What a model class is made of. */
export interface ModelParts {
  gpu: Gpu;
  spec: ModelSpec;
  weights: Weights;
  tokenizer: Tokenizer | undefined;
  label: string;
  ownsGpu: boolean;
}

/**
 * Opens a checkpoint for any kind of source. The caller closes it. Downloads from the Hub into the cache report to
 * `onProgress`, too, with the file in place of the tensor.
 */
export async function openModelSource(source: ModelSource, options: OpenModelOptions = {}): Promise<Checkpoint> {
  const opened = await resolveSource(source, options);
  const file = options.file ?? opened.file;
  return openCheckpoint(opened.source, {
    ...(file && { file }),
    ...(options.onProgress && { onProgress: options.onProgress }),
  });
}

async function resolveSource(
  source: ModelSource,
  { onProgress, onNotice }: OpenModelOptions,
): Promise<{ source: CheckpointSource; file?: string | undefined }> {
  if (typeof source === "string") {
    const onDownload: HubSourceOptions["onDownload"] = ({ file, loaded, total }) =>
      onProgress?.({ loaded, total, tensor: file });
    return openSource(source, { hub: { onDownload, ...(onNotice && { onNotice }) } });
  }
  if ("read" in source) return { source };
  return { source: new FilesSource(source) };
}

/** The spec of an open checkpoint, from its `config.json`. */
export async function readSpec(checkpoint: Checkpoint): Promise<{ spec: ModelSpec; modelType: string }> {
  const config = await checkpoint.readJson("config.json");
  if (config === undefined) {
    throw new ConfigError(
      "config/missing",
      `${checkpoint.label} has no config.json. It belongs beside the weights and names the architecture.`,
    );
  }
  const spec = specFromConfig(config, `${checkpoint.label}/config.json`);
  return { spec, modelType: spec.family };
}

/** Loads everything a model is made of. On failure nothing stays allocated. */
export async function loadParts(source: ModelSource, options: LoadOptions = {}): Promise<ModelParts> {
  const checkpoint = await openModelSource(source, options);
  let gpu: Gpu | undefined;
  try {
    const { spec, modelType } = await readSpec(checkpoint);
    const tokenizer = await loadTokenizer(
      { json: (name) => checkpoint.readJson(name) },
      { modelType, vocabSize: spec.vocabSize },
    );
    gpu = options.gpu ?? new Gpu(await requestGpu(options));
    if (!options.gpu && options.onNotice) gpu.onNotice = options.onNotice;
    const weights = await loadTuned(gpu, spec, checkpoint, options);
    const { label } = checkpoint;
    if (!options.gpu) gpu.endWhenForgotten(`the model ${label}`);
    return { gpu, spec, weights, tokenizer, label, ownsGpu: !options.gpu };
  } catch (error) {
    if (!options.gpu) gpu?.destroy();
    throw error;
  } finally {
    await checkpoint.close();
  }
}

/** Loads the weights, and lets the device use what is known to be fast for them. */
async function loadTuned(gpu: Gpu, spec: ModelSpec, checkpoint: Checkpoint, options: LoadOptions): Promise<Weights> {
  const weights = await loadWeights(gpu, spec, checkpoint, options);
  try {
    await takeTuning(gpu, spec, weights, options);
    return weights;
  } catch (error) {
    for (const buffer of weightBuffers(weights)) gpu.destroyBuffer(buffer);
    throw error;
  }
}
