/**
 * Writing safetensors. The one thing to know is the order: tensors go by falling element size, then by name, and the
 * header is padded with spaces to a multiple of eight. So every tensor begins at a multiple of its element size and a
 * reader may map the file and use it in place. It is the order of the reference implementation, too.
 */
import { CheckpointError } from "../errors.ts";
import * as s from "../schema/schema.ts";
import { bytesPerElement, type Dtype, isDtype } from "./dtype.ts";

/** What the header of a safetensors file says about a tensor. */
export interface TensorDescription {
  name: string;
  dtype: Dtype;
  shape: readonly number[];
}

/** A tensor to write. `data` holds its little-endian bytes in row-major order, whatever typed array shows them. */
export interface TensorEntry extends TensorDescription {
  data: ArrayBufferView;
}

/** A tensor whose bytes are fetched when their turn to be written comes. */
export interface LazyTensorEntry extends TensorDescription {
  /** The bytes, or what fetches them. */
  data: ArrayBufferView | (() => ArrayBufferView | Promise<ArrayBufferView>);
}

const TENSORS: s.Schema<TensorDescription[]> = {
  takes: "a list of { name, dtype, shape, data }",
  read: (value, at) => {
    const isList = typeof value === "object" && value !== null && Symbol.iterator in value;
    const entries = isList ? [...(value as Iterable<unknown>)] : at.refuse(value, TENSORS.takes);
    return entries.map((entry, index) => {
      const { name, shape, data } = (entry ?? {}) as Partial<LazyTensorEntry>;
      const isData = ArrayBuffer.isView(data) || typeof data === "function";
      if (typeof name === "string" && Array.isArray(shape) && isData) return entry as TensorDescription;
      return at.entry(index).refuse(entry, "{ name, dtype, shape, data }, data being a typed array");
    });
  },
};

const METADATA = s.record("texts", s.text);

const HEADER_ALIGNMENT = 8;
const LENGTH_FIELD_BYTES = 8;

function cannotWrite(name: string, detail: string): CheckpointError {
  return new CheckpointError("checkpoint/write", `Tensor ${JSON.stringify(name)} cannot be written: ${detail}.`);
}

function byteLengthOf({ name, dtype, shape }: TensorDescription): number {
  if (!isDtype(dtype)) throw cannotWrite(name, `unknown dtype ${JSON.stringify(dtype)}`);
  const length = shape.reduce((product, size) => product * size, bytesPerElement(dtype));
  const valid = shape.every((size) => Number.isSafeInteger(size) && size >= 0) && Number.isSafeInteger(length);
  if (!valid) throw cannotWrite(name, `[${shape.join(", ")}] is not a shape`);
  return length;
}

function sortForAlignment<Entry extends TensorDescription>(tensors: readonly Entry[]): Entry[] {
  const byName = (a: Entry, b: Entry) => (a.name < b.name ? -1 : 1);
  for (const tensor of tensors) byteLengthOf(tensor);
  return [...tensors].sort((a, b) => bytesPerElement(b.dtype) - bytesPerElement(a.dtype) || byName(a, b));
}

function encodeHeader(tensors: readonly TensorDescription[], metadata: Record<string, string> | undefined): Uint8Array {
  const entries = new Map<string, unknown>();
  if (metadata !== undefined) entries.set("__metadata__", metadata);
  let offset = 0;
  for (const tensor of tensors) {
    const { name, dtype, shape } = tensor;
    if (name === "__metadata__") throw cannotWrite(name, "the format reserves that name");
    if (entries.has(name)) throw cannotWrite(name, "there are two of that name");
    const end = offset + byteLengthOf(tensor);
    entries.set(name, { dtype, shape, data_offsets: [offset, end] });
    offset = end;
  }
  // fromEntries defines own properties, so even a tensor called "__proto__" survives.
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  const padded = Math.ceil(json.length / HEADER_ALIGNMENT) * HEADER_ALIGNMENT;
  const header = new Uint8Array(LENGTH_FIELD_BYTES + padded).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(padded), true);
  header.set(json, LENGTH_FIELD_BYTES);
  return header;
}

function bytesOf(tensor: TensorDescription, data: ArrayBufferView): Uint8Array {
  const expected = byteLengthOf(tensor);
  if (data.byteLength !== expected) {
    const wanted = `[${tensor.shape.join(", ")}] of ${tensor.dtype} takes ${expected}`;
    throw cannotWrite(tensor.name, `its data has ${data.byteLength} bytes, but ${wanted}`);
  }
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/**
 * A whole safetensors file in memory. For files larger than a few hundred megabytes, see `streamSafetensors`.
 * @param metadata free text for `__metadata__`; frameworks look for `{ format: "pt" }`
 * @throws CheckpointError `checkpoint/write` for a duplicate or reserved name, or data whose size is not its shape's.
 */
export function writeSafetensors(tensors: Iterable<TensorEntry>, metadata?: Record<string, string>): Uint8Array {
  const sorted = sortForAlignment(s.readArgument(TENSORS, tensors, "writeSafetensors", "tensors") as TensorEntry[]);
  if (metadata !== undefined) s.readArgument(METADATA, metadata, "writeSafetensors", "metadata");
  const parts = [encodeHeader(sorted, metadata), ...sorted.map((tensor) => bytesOf(tensor, tensor.data))];
  const file = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    file.set(part, offset);
    offset += part.length;
  }
  return file;
}

/**
 * A safetensors file as a stream of chunks: the header, then one tensor after another. Lazy tensors are fetched one at
 * a time, so memory stays at the largest of them.
 * @throws CheckpointError as `writeSafetensors`; a wrong size of lazy data only shows when its turn comes.
 */
export async function* streamSafetensors(
  tensors: Iterable<LazyTensorEntry>,
  metadata?: Record<string, string>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const sorted = sortForAlignment(
    s.readArgument(TENSORS, tensors, "streamSafetensors", "tensors") as LazyTensorEntry[],
  );
  if (metadata !== undefined) s.readArgument(METADATA, metadata, "streamSafetensors", "metadata");
  yield encodeHeader(sorted, metadata);
  for (const tensor of sorted) {
    yield bytesOf(tensor, typeof tensor.data === "function" ? await tensor.data() : tensor.data);
  }
}
