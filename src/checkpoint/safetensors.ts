/**
 * The safetensors header: an 8-byte little-endian length N, N bytes of JSON, then the tensors' bytes back to back.
 *
 *     { "__metadata__": {"format": "pt"}, "wte.weight": {"dtype": "F32", "shape": [4, 8], "data_offsets": [0, 128]} }
 *
 * The format is safe because it leaves nothing to guess: the tensors tile the rest of the file exactly, so no byte is
 * read twice and none is unexplained. `parseHeader` makes the checks of the specification
 * (https://github.com/huggingface/safetensors#format) as the reference reader makes them (safetensors 0.8: white space
 * around the header and `"__metadata__": null` are fine), and names the file and the tensor that fails. It is stricter
 * in one thing, keys that occur twice, and more lenient in another: a type it does not know concerns only those who read
 * the tensor.
 */
import { CheckpointError } from "../errors.ts";
import { bytesPerElement, type Dtype, isDtype } from "./dtype.ts";
import { isObject, parseJsonBytes } from "./json.ts";

export { type LazyTensorEntry, streamSafetensors, type TensorEntry, writeSafetensors } from "./safetensors-writer.ts";

/** Longest header the format allows, in bytes. */
export const MAX_HEADER_BYTES = 100_000_000;

/** Bytes of the header's length, a u64 at the very start of the file. */
export const LENGTH_FIELD_BYTES = 8;

/** One tensor of a file. Offsets are bytes from the start of the file. */
export interface SafetensorsTensor {
  readonly name: string;
  /** As the header spells it: a `Dtype`, or one that cannot be read (`isDtype` tells). */
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly byteStart: number;
  readonly byteEnd: number;
}

/** A checked header. Tensors are in the order of their bytes in the file. */
export interface SafetensorsHeader {
  readonly tensors: readonly SafetensorsTensor[];
  readonly metadata: Readonly<Record<string, string>>;
  /** First byte after the header, from the start of the file. */
  readonly dataStart: number;
}

const REWRITE = "The file is damaged or was written by a faulty tool: download or write it again.";

function broken(code: string, fileName: string, detail: string, remedy = REWRITE): CheckpointError {
  return new CheckpointError(`checkpoint/${code}`, `${fileName}: ${detail}. ${remedy}`);
}

/**
 * Bytes of the JSON header, from the first eight bytes of the file.
 * @throws CheckpointError when the file is too short or the length exceeds the format's limit or the file.
 */
export function headerLength(bytes: Uint8Array, fileLength: number, fileName: string): number {
  if (bytes.byteLength < LENGTH_FIELD_BYTES || fileLength < LENGTH_FIELD_BYTES) {
    const detail = `the file has ${fileLength} bytes, too few for a safetensors header`;
    throw broken("truncated", fileName, detail, "Download it again.");
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = view.getBigUint64(0, true);
  if (length > BigInt(MAX_HEADER_BYTES)) {
    const detail = `the header would be ${length} bytes long; the format allows ${MAX_HEADER_BYTES}`;
    throw broken("header-too-long", fileName, detail, remedyForNonSafetensors(bytes));
  }
  if (LENGTH_FIELD_BYTES + Number(length) > fileLength) {
    const detail = `the header should end at byte ${LENGTH_FIELD_BYTES + Number(length)}, the file at ${fileLength}`;
    throw broken("truncated", fileName, detail, "The file is truncated or is not safetensors: download it again.");
  }
  return Number(length);
}

/** What people feed to a safetensors reader by mistake most often is a Git LFS pointer. */
function remedyForNonSafetensors(bytes: Uint8Array): string {
  const start = new TextDecoder().decode(bytes.subarray(0, LENGTH_FIELD_BYTES));
  if (start === "version ") return "This looks like a Git LFS pointer: run `git lfs pull` to fetch the weights.";
  return "It is not a safetensors file: check that it is the weights and not a pickle, a GGUF or a web page.";
}

/**
 * Parses and checks the header.
 * @param bytes at least the first `8 + headerLength` bytes of the file
 * @param fileLength bytes of the whole file
 * @param fileName names the file in errors
 * @throws CheckpointError for everything the format's specification forbids; the message names file and tensor.
 */
export function parseHeader(bytes: Uint8Array, fileLength: number, fileName: string): SafetensorsHeader {
  const length = headerLength(bytes, fileLength, fileName);
  const dataStart = LENGTH_FIELD_BYTES + length;
  if (bytes.byteLength < dataStart) {
    throw broken("truncated", fileName, `${bytes.byteLength} bytes of a header of ${dataStart} were read`);
  }
  const json = parseHeaderJson(bytes.subarray(LENGTH_FIELD_BYTES, dataStart), fileName);
  const { __metadata__: metadata, ...entries } = json;
  const tensors = Object.entries(entries).map(([name, entry]) => parseTensor(name, entry, dataStart, fileName));
  tensors.sort((a, b) => a.byteStart - b.byteStart || a.byteEnd - b.byteEnd);
  checkTiling(tensors, dataStart, fileLength, fileName);
  return { tensors, metadata: parseMetadata(metadata, fileName), dataStart };
}

/** White space around the object is JSON's own; files are padded with it. */
function parseHeaderJson(bytes: Uint8Array, fileName: string): Record<string, unknown> {
  const parsed = parseJsonBytes(bytes);
  if (parsed.kind === "not-json") throw broken("header-json", fileName, `the header is not JSON (${parsed.reason})`);
  if (parsed.kind === "duplicate-key") {
    throw broken("duplicate-key", fileName, `the header has the key ${JSON.stringify(parsed.key)} twice`);
  }
  if (!isObject(parsed.value)) throw broken("header-json", fileName, "the header is not a JSON object");
  return parsed.value;
}

function parseMetadata(metadata: unknown, fileName: string): Record<string, string> {
  if (metadata === undefined || metadata === null) return {};
  if (!isObject(metadata)) throw broken("metadata", fileName, "__metadata__ is not an object");
  const wrong = Object.keys(metadata).find((key) => typeof metadata[key] !== "string");
  if (wrong !== undefined) {
    throw broken("metadata", fileName, `__metadata__ key ${JSON.stringify(wrong)} does not hold a string`);
  }
  return metadata as Record<string, string>;
}

/** Counts and offsets: integers a double holds exactly. Minus zero is a float in disguise. */
function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && !Object.is(value, -0);
}

function parseTensor(name: string, entry: unknown, dataStart: number, fileName: string): SafetensorsTensor {
  const tensor = `tensor ${JSON.stringify(name)}`;
  if (!isObject(entry)) throw broken("header-json", fileName, `${tensor} is not described by an object`);
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== "string" || dtype === "") {
    throw broken("dtype", fileName, `${tensor} has the dtype ${JSON.stringify(dtype)}, not the name of one`);
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    throw broken("shape", fileName, `${tensor} has the shape ${JSON.stringify(shape)}, not a list of sizes`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw broken("offsets", fileName, `${tensor} has data_offsets ${JSON.stringify(offsets)}, not [begin, end]`);
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end) throw broken("offsets", fileName, `${tensor} begins at ${begin}, after its end at ${end}`);
  // The size of a type that is not known cannot be checked; whoever needs the tensor refuses it (`toFloat32`).
  const expected = isDtype(dtype) ? byteLengthOf(dtype, shape) : end - begin;
  if (expected !== end - begin) {
    const wanted = `${JSON.stringify(shape)} of ${dtype} takes ${expected ?? "more than 2^53"} bytes`;
    throw broken("wrong-size", fileName, `${tensor} occupies ${end - begin} bytes, but ${wanted}`);
  }
  return { name, dtype, shape, byteStart: dataStart + begin, byteEnd: dataStart + end };
}

/** Bytes of a tensor, or undefined where the product, however it is grouped, leaves the exact integers. */
function byteLengthOf(dtype: Dtype, shape: readonly number[]): number | undefined {
  let length = bytesPerElement(dtype);
  for (const size of shape) {
    length *= size;
    if (!Number.isSafeInteger(length)) return undefined;
  }
  return length;
}

/** The tensors, sorted by position, must cover the data exactly: no hole, no overlap, nothing left at the end. */
function checkTiling(
  tensors: readonly SafetensorsTensor[],
  dataStart: number,
  fileLength: number,
  fileName: string,
): void {
  let covered = dataStart;
  for (const { name, byteStart, byteEnd } of tensors) {
    if (byteStart !== covered) {
      const [code, what] = byteStart < covered ? ["overlap", "overlaps"] : ["hole", "leaves a hole after"];
      const detail = `tensor ${JSON.stringify(name)} begins at byte ${byteStart} and ${what} what ends at ${covered}`;
      throw broken(code as string, fileName, detail);
    }
    covered = byteEnd;
  }
  if (covered > fileLength) {
    const detail = `the tensors end at byte ${covered}, the file at ${fileLength}`;
    throw broken("truncated", fileName, detail, "The file is truncated: download it again.");
  }
  if (covered < fileLength) {
    throw broken("hole", fileName, `${fileLength - covered} bytes after the last tensor belong to none`);
  }
}
