/**
 * A checkpoint: the tensors of one model, in one safetensors file or in several "shards" with an index. Opening it
 * reads the headers only, which say where every tensor lies; tensors are then read by range, one piece at a time, so
 * memory never depends on the size of the file.
 */
import { CheckpointError } from "../errors.ts";
import type { Dtype } from "./dtype.ts";
import { isObject, parseJsonBytes } from "./json.ts";
import {
  headerLength,
  LENGTH_FIELD_BYTES,
  parseHeader,
  type SafetensorsHeader,
  type SafetensorsTensor,
} from "./safetensors.ts";
import { type CheckpointSource, checkFileName, checkRange } from "./source.ts";

/** One tensor and where it lies. `byteStart` and `byteEnd` count from the start of `file`. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly file: string;
  readonly byteStart: number;
  readonly byteEnd: number;
  readonly byteLength: number;
}

/** Bytes of tensors read so far, each byte counted once, out of all in the checkpoint. */
export interface CheckpointProgress {
  loaded: number;
  total: number;
  tensor?: string;
}

/** Options of `openCheckpoint`. */
export interface CheckpointOptions {
  /** A `.safetensors` or `.safetensors.index.json` file to open instead of `model.safetensors` or its index. */
  file?: string;
  /** Called after each read of a tensor. */
  onProgress?: (progress: CheckpointProgress) => void;
}

/** An open checkpoint. */
export interface Checkpoint {
  /** Names the source in messages. */
  readonly label: string;
  /** Every tensor by name, in the order of the files. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** `__metadata__` of the files. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Bytes of all tensors. */
  readonly byteLength: number;
  /** The named JSON file beside the weights, such as `config.json`; undefined when there is none. */
  readJson(file: string): Promise<unknown | undefined>;
  /** Bytes of a tensor, or of the part from `byteStart` to `byteEnd` counted from the tensor's first byte. */
  read(name: string, byteStart?: number, byteEnd?: number): Promise<Uint8Array>;
  /** Closes the source. */
  close(): Promise<void>;
}

const SINGLE_FILE = "model.safetensors";
const INDEX_FILE = "model.safetensors.index.json";

/** Read at once with the length field: most headers are shorter, and then need no second request. */
const FIRST_READ_BYTES = 64 * 1024;

/**
 * Opens `model.safetensors`, or the shards of `model.safetensors.index.json`, or `options.file`. The checkpoint owns
 * the source: `close()` closes it, and so does a failure to open.
 * @throws CheckpointError for a missing file or shard, a broken header, or an index that disagrees with its shards
 */
export async function openCheckpoint(source: CheckpointSource, options: CheckpointOptions = {}): Promise<Checkpoint> {
  try {
    const file = options.file ?? (await findWeights(source));
    const isIndex = file.endsWith(".json");
    const { tensors, metadata } = isIndex ? await readShards(source, file) : await readSingle(source, file);
    return new SourceCheckpoint(source, tensors, metadata, options.onProgress);
  } catch (error) {
    await source.close?.();
    throw error;
  }
}

async function findWeights(source: CheckpointSource): Promise<string> {
  if (await source.exists(SINGLE_FILE)) return SINGLE_FILE;
  if (await source.exists(INDEX_FILE)) return INDEX_FILE;
  const others = (await source.list?.())?.filter((name) => name.endsWith(".safetensors")) ?? [];
  const remedy =
    others.length > 0
      ? `It has ${others.join(", ")}: name one as \`file\`.`
      : "Only safetensors weights can be read: convert others with transformers' save_pretrained.";
  const message = `${source.label} has neither ${SINGLE_FILE} nor ${INDEX_FILE}. ${remedy}`;
  throw new CheckpointError("checkpoint/no-weights", message);
}

interface Contents {
  tensors: Map<string, TensorInfo>;
  metadata: Record<string, string>;
}

/** Runs `read`, and once more when the file is damaged and the source can fetch it anew. */
async function renewing<Result>(source: CheckpointSource, file: string, read: () => Promise<Result>): Promise<Result> {
  try {
    return await read();
  } catch (error) {
    // A type that is not known is no damage, and may be gigabytes long.
    const isDamage = error instanceof CheckpointError && error.code !== "checkpoint/dtype";
    if (isDamage && (await source.renew?.(file))) return read();
    throw error;
  }
}

function readHeader(source: CheckpointSource, file: string): Promise<SafetensorsHeader> {
  return renewing(source, file, () => parseHeaderOf(source, file));
}

async function parseHeaderOf(source: CheckpointSource, file: string): Promise<SafetensorsHeader> {
  const size = await source.size(file);
  let bytes = await source.read(file, 0, Math.min(size, FIRST_READ_BYTES));
  const end = LENGTH_FIELD_BYTES + headerLength(bytes, size, file);
  if (end > bytes.length) bytes = await source.read(file, 0, end);
  return parseHeader(bytes, size, file);
}

function toInfo(tensor: SafetensorsTensor, file: string): TensorInfo {
  return { ...tensor, file, byteLength: tensor.byteEnd - tensor.byteStart };
}

async function readSingle(source: CheckpointSource, file: string): Promise<Contents> {
  const { tensors, metadata } = await readHeader(source, file);
  return { tensors: new Map(tensors.map((tensor) => [tensor.name, toInfo(tensor, file)])), metadata };
}

async function readShards(source: CheckpointSource, indexFile: string): Promise<Contents> {
  const weightMap = await readWeightMap(source, indexFile);
  const contents: Contents = { tensors: new Map(), metadata: {} };
  for (const [shard, names] of namesByShard(weightMap)) {
    if (!(await source.exists(shard))) {
      const message = `${source.label}: the shard ${shard}, with ${names.length} tensors, is missing. Download it too.`;
      throw new CheckpointError("checkpoint/missing-shard", message);
    }
    const header = await readHeader(source, shard);
    for (const tensor of header.tensors) addShardTensor(contents.tensors, toInfo(tensor, shard));
    Object.assign(contents.metadata, header.metadata);
    const missing = names.find((name) => contents.tensors.get(name)?.file !== shard);
    if (missing !== undefined) throw indexError(indexFile, `says tensor ${missing} is in ${shard}, which lacks it`);
  }
  return contents;
}

function addShardTensor(tensors: Map<string, TensorInfo>, tensor: TensorInfo): void {
  const other = tensors.get(tensor.name);
  if (other !== undefined) {
    const message = `Tensor ${tensor.name} is in ${other.file} and in ${tensor.file}. Download the checkpoint again.`;
    throw new CheckpointError("checkpoint/duplicate-tensor", message);
  }
  tensors.set(tensor.name, tensor);
}

function indexError(file: string, detail: string): CheckpointError {
  return new CheckpointError("checkpoint/index", `${file} ${detail}. The index and its shards belong to one download.`);
}

async function readWeightMap(source: CheckpointSource, file: string): Promise<Record<string, string>> {
  const index = await readJsonFile(source, file);
  const weightMap = isObject(index) ? index.weight_map : undefined;
  if (!isObject(weightMap)) throw indexError(file, "has no weight_map object");
  for (const [name, shard] of Object.entries(weightMap)) {
    if (typeof shard !== "string") throw indexError(file, `does not name the shard of tensor ${name}`);
    checkFileName(shard, `${source.label}: ${file}`);
  }
  return weightMap as Record<string, string>;
}

function namesByShard(weightMap: Record<string, string>): Map<string, string[]> {
  const shards = new Map<string, string[]>();
  for (const [name, shard] of Object.entries(weightMap)) {
    const names = shards.get(shard);
    if (names === undefined) shards.set(shard, [name]);
    else names.push(name);
  }
  return shards;
}

function readJsonFile(source: CheckpointSource, file: string): Promise<unknown> {
  return renewing(source, file, () => parseJsonFile(source, file));
}

async function parseJsonFile(source: CheckpointSource, file: string): Promise<unknown> {
  const parsed = parseJsonBytes(await source.readAll(file));
  if (parsed.kind === "value") return parsed.value;
  const reason = parsed.kind === "not-json" ? parsed.reason : `the key ${JSON.stringify(parsed.key)} occurs twice`;
  const message = `${source.label}: ${file} is not valid JSON: ${reason}. Download it again.`;
  throw new CheckpointError("checkpoint/json", message);
}

class SourceCheckpoint implements Checkpoint {
  readonly byteLength: number;
  readonly #source: CheckpointSource;
  readonly #onProgress: CheckpointOptions["onProgress"];
  /** Bytes read of each tensor, at most its length: a tensor read twice must not count twice. */
  readonly #loadedOf = new Map<string, number>();
  #loaded = 0;

  constructor(
    source: CheckpointSource,
    readonly tensors: ReadonlyMap<string, TensorInfo>,
    readonly metadata: Readonly<Record<string, string>>,
    onProgress: CheckpointOptions["onProgress"],
  ) {
    this.#source = source;
    this.#onProgress = onProgress;
    this.byteLength = [...tensors.values()].reduce((sum, tensor) => sum + tensor.byteLength, 0);
  }

  get label(): string {
    return this.#source.label;
  }

  async readJson(file: string): Promise<unknown | undefined> {
    return (await this.#source.exists(file)) ? readJsonFile(this.#source, file) : undefined;
  }

  async read(name: string, byteStart = 0, byteEnd?: number): Promise<Uint8Array> {
    const tensor = this.tensors.get(name);
    if (tensor === undefined) {
      const message = `${this.label} has no tensor ${name} among its ${this.tensors.size}. Look at \`tensors\` for the names.`;
      throw new CheckpointError("checkpoint/missing-tensor", message);
    }
    const end = byteEnd ?? tensor.byteLength;
    checkRange(`${tensor.file}, tensor ${name}`, byteStart, end, tensor.byteLength);
    const bytes = await this.#source.read(tensor.file, tensor.byteStart + byteStart, tensor.byteStart + end);
    this.#count(tensor, bytes.length);
    return bytes;
  }

  async close(): Promise<void> {
    await this.#source.close?.();
  }

  #count(tensor: TensorInfo, bytes: number): void {
    const before = this.#loadedOf.get(tensor.name) ?? 0;
    const after = Math.min(before + bytes, tensor.byteLength);
    this.#loadedOf.set(tensor.name, after);
    this.#loaded += after - before;
    this.#onProgress?.({ loaded: this.#loaded, total: this.byteLength, tensor: tensor.name });
  }
}
