/**
 * A checkpoint: the tensors of one model, in one safetensors file or in several "shards" with an index, or in a GGUF file. Opening it
 * reads the headers only, which say where every tensor lies; tensors are then read by range, one piece at a time, so
 * memory never depends on the size of the file.
 */
import { CheckpointError } from "../errors.ts";
import * as s from "../schema/schema.ts";
import type { Contents } from "./contents.ts";
import { openGguf } from "./gguf/open.ts";
import { readJsonFile } from "./json-file.ts";
import { readHeader } from "./read-header.ts";
import { readShards } from "./shards.ts";
import { type CheckpointSource, checkFileName, checkRange } from "./source.ts";
import { SubfolderSource } from "./subfolder.ts";
import type { TensorInfo } from "./tensor-info.ts";

/** Bytes of tensors read so far, each byte counted once, out of all in the checkpoint. */
export interface CheckpointProgress {
  loaded: number;
  total: number;
  tensor?: string;
}

/** Options of `openCheckpoint`. */
export interface CheckpointOptions {
  /**
   * A `.safetensors`, `.safetensors.index.json` or `.gguf` file to open instead of `model.safetensors` or its index. In a folder of
   * the source, such as `run/model.safetensors`, it is opened with what lies beside it: config, tokenizer, shards.
   */
  file?: string;
  /** Called after each read of a tensor. */
  onProgress?: (progress: CheckpointProgress) => void;
  /** Called with what a person should know about the files, such as a tensor that two shards hold. */
  onNotice?: (message: string) => void;
}

const CHECKPOINT_OPTIONS = s.object<CheckpointOptions>("the options of openCheckpoint", {
  file: s.text,
  onProgress: s.callback,
  onNotice: s.callback,
});

const SOURCE = s.simple<CheckpointSource>(
  "a source, such as openSource() gives",
  (value) => typeof value === "object" && value !== null && "read" in value && "exists" in value,
);

/** An open checkpoint. */
export interface Checkpoint {
  /** Names the source in messages. */
  readonly label: string;
  /** Every tensor by name, in the order of the files. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** `__metadata__` of the files. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Tensors that an index lists and no shard holds, each with the shard it names. */
  readonly absent: ReadonlyMap<string, string>;
  /** Bytes of all tensors. */
  readonly byteLength: number;
  /**
   * Each tensor is a part of what the model computes, as in GGUF, whose converter leaves others out: a model that has no use for
   * one is another. False when absent: safetensors may hold anything.
   */
  readonly everyTensorCounts?: boolean;
  /** The named JSON file beside the weights, such as `config.json`; undefined when there is none. */
  readJson(file: string): Promise<unknown | undefined>;
  /** The named text file beside the weights, such as `chat_template.jinja`; undefined when there is none. */
  readText(file: string): Promise<string | undefined>;
  /** Bytes of a tensor, or of the part from `byteStart` to `byteEnd` counted from the tensor's first byte. */
  read(name: string, byteStart?: number, byteEnd?: number): Promise<Uint8Array>;
  /** Closes the source. */
  close(): Promise<void>;
}

/** An open checkpoint, as an argument of other calls. */
export const CHECKPOINT = s.simple<Checkpoint>(
  "a checkpoint that openCheckpoint() gave",
  (value) => typeof value === "object" && value !== null && "tensors" in value && "readJson" in value,
);

const SINGLE_FILE = "model.safetensors";
const INDEX_FILE = "model.safetensors.index.json";
const ADAPTER_FILE = "adapter_model.safetensors";
/** The name of one of several shards. */
const SHARD_NAME = /-\d+-of-(?!0*1\.)\d+\.safetensors$/;
const FILE_IS_INSIDE =
  "`file` names a file in the source: give the folder that holds it as the source, and the rest of the path as `file`.";

/**
 * Opens `model.safetensors`, or the shards of `model.safetensors.index.json`, or `options.file`; without any of them, the
 * one model in a folder of the source, if it can list its files. The checkpoint owns the source: `close()` closes it, and
 * so does a failure to open.
 * @throws CheckpointError for a missing file or shard, a broken header, or shards that contradict each other
 */
export async function openCheckpoint(source: CheckpointSource, options: CheckpointOptions = {}): Promise<Checkpoint> {
  s.readArgument(SOURCE, source, "openCheckpoint", "source");
  try {
    const {
      onProgress,
      onNotice = () => {},
      file: chosen,
    } = s.readOptions(CHECKPOINT_OPTIONS, options, "openCheckpoint");
    if (chosen !== undefined) checkFileName(chosen, source.label, FILE_IS_INSIDE);
    const path = chosen ?? (await findWeights(source, onNotice));
    const folder = path.slice(0, path.lastIndexOf("/") + 1);
    const file = path.slice(folder.length);
    const place = folder === "" ? source : new SubfolderSource(source, folder);
    const contents = await readerOf(file)(place, file, onNotice);
    return new SourceCheckpoint(place, contents, onProgress);
  } catch (error) {
    await source.close?.();
    throw error;
  }
}

type ReadContents = (source: CheckpointSource, file: string, onNotice: (message: string) => void) => Promise<Contents>;

/** What reads a file: by its name, as people and tools go by it. */
function readerOf(file: string): ReadContents {
  if (file.endsWith(".json")) return readShards;
  return file.endsWith(".gguf") ? openGguf : readSingle;
}

async function findWeights(source: CheckpointSource, onNotice: (message: string) => void): Promise<string> {
  if (await source.exists(SINGLE_FILE)) return SINGLE_FILE;
  if (await source.exists(INDEX_FILE)) return INDEX_FILE;
  const files = source.list ? await source.list() : (await source.exists(ADAPTER_FILE)) ? [ADAPTER_FILE] : [];
  const nested = nestedModels(files);
  const models = nested.length > 0 ? nested : files.filter(isGgufModel);
  const [model] = models;
  if (model !== undefined && models.length === 1) {
    if (model.includes("/"))
      onNotice(`${source.label}: no model lies at the top, so the one below is opened: ${model}.`);
    return model;
  }
  const message = `${source.label} has neither ${SINGLE_FILE} nor ${INDEX_FILE}. ${wayToWeights(models, files)}`;
  throw new CheckpointError("checkpoint/no-weights", message);
}

function wayToWeights(models: readonly string[], files: readonly string[]): string {
  const weights = files.filter((name) => /\.safetensors(\.index\.json)?$/.test(name));
  const adapter = weights.find((name) => /(^|\/)adapter_model\.safetensors$/.test(name));
  const shard = weights.find((name) => SHARD_NAME.test(name));
  const whole = weights.filter((name) => !SHARD_NAME.test(name) && !name.endsWith(ADAPTER_FILE));
  const others = models.length > 0 ? models : whole;
  if (others.length > 0) {
    return `It has ${others.join(", ")}: name one as \`file\`, or at the end of the path or address.`;
  }
  if (shard) return `It has shards, such as ${shard}, and their index is missing: download ${INDEX_FILE}, too.`;
  if (adapter) {
    return `It has ${adapter}, which is an adapter, not a model: merge it into its base model with peft's merge_and_unload, and save that with save_pretrained.`;
  }
  return "Only safetensors and GGUF weights can be read: convert others with transformers' save_pretrained.";
}

/** A later part of a split model is none, and no part that sees (`mmproj`) is a text model. */
const isGgufModel = (file: string): boolean =>
  /\.gguf$/.test(file) && !/-(?!0*1-of)\d+-of-\d+\.gguf$/.test(file) && !/mmproj/i.test(file);

/** Each folder's `model.safetensors` or, where there is none, its index. */
function nestedModels(files: readonly string[]): string[] {
  const single = files.filter((file) => file.endsWith(`/${SINGLE_FILE}`));
  const index = files.filter((file) => file.endsWith(`/${INDEX_FILE}`));
  return [...single, ...index.filter((file) => !single.includes(file.replace(INDEX_FILE, SINGLE_FILE)))];
}

const readSingle: ReadContents = async (source, file, onNotice) => {
  if (SHARD_NAME.test(file)) {
    onNotice(
      `${source.label}: ${file} is one shard of several; name their index (.safetensors.index.json) for the model.`,
    );
  }
  const { tensors, metadata } = await readHeader(source, file);
  return { tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])), metadata, absent: new Map() };
};

class SourceCheckpoint implements Checkpoint {
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly absent: ReadonlyMap<string, string>;
  readonly byteLength: number;
  readonly everyTensorCounts: boolean;
  readonly label: string;
  readonly #source: CheckpointSource;
  readonly #contents: Contents;
  readonly #onProgress: CheckpointOptions["onProgress"];
  /** Bytes read of each tensor, at most its length: a tensor read twice must not count twice. */
  readonly #loadedOf = new Map<string, number>();
  #loaded = 0;

  constructor(source: CheckpointSource, contents: Contents, onProgress: CheckpointOptions["onProgress"]) {
    this.label = contents.label ?? source.label;
    this.#source = source;
    this.#contents = contents;
    this.#onProgress = onProgress;
    this.tensors = contents.tensors;
    this.metadata = contents.metadata;
    this.absent = contents.absent;
    this.everyTensorCounts = contents.everyTensorCounts ?? false;
    this.byteLength = [...contents.tensors.values()].reduce((sum, tensor) => sum + tensor.byteLength, 0);
  }

  async readJson(file: string): Promise<unknown | undefined> {
    if (this.#contents.json) return this.#contents.json(file);
    return (await this.#source.exists(file)) ? readJsonFile(this.#source, file) : undefined;
  }

  async readText(file: string): Promise<string | undefined> {
    if (this.#contents.json) return undefined;
    if (!(await this.#source.exists(file))) return undefined;
    return new TextDecoder().decode(await this.#source.readAll(file));
  }

  async read(name: string, byteStart = 0, byteEnd?: number): Promise<Uint8Array> {
    const tensor = this.tensors.get(name);
    if (tensor === undefined) {
      const message = `${this.label} has no tensor ${name} among its ${this.tensors.size}. Look at \`tensors\` for the names.`;
      throw new CheckpointError("checkpoint/missing-tensor", message);
    }
    const end = byteEnd ?? tensor.byteLength;
    checkRange(`${tensor.file}, tensor ${name}`, byteStart, end, tensor.byteLength);
    const bytes = this.#contents.read
      ? await this.#contents.read(tensor, byteStart, end)
      : await this.#source.read(tensor.file, tensor.byteStart + byteStart, tensor.byteStart + end);
    await this.#count(tensor, bytes.length);
    return bytes;
  }

  async close(): Promise<void> {
    await this.#source.close?.();
  }

  async #count(tensor: TensorInfo, bytes: number): Promise<void> {
    const before = this.#loadedOf.get(tensor.name) ?? 0;
    const after = Math.min(before + bytes, tensor.byteLength);
    this.#loadedOf.set(tensor.name, after);
    this.#loaded += after - before;
    await this.#onProgress?.({ loaded: this.#loaded, total: this.byteLength, tensor: tensor.name });
  }
}
