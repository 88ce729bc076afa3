/**
 * The header of a GGUF file (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), versions 2 and 3:
 *
 *     "GGUF"  version: u32  tensors: u64  pairs: u64
 *     pairs of metadata:  key, type: u32, value
 *     tensors:            name, axes: u32, sizes: u64 each (fastest first), type: u32, offset: u64
 *     padding to `general.alignment`, then the tensors' bytes, each at a multiple of it
 *
 * Everything is little-endian; a text is a u64 length and UTF-8. `parseGguf` checks all of it, and names the file, and the key
 * or tensor that fails. Each count is compared with the bytes that are left before anything is made for it.
 */
import { CheckpointError } from "../../errors.ts";
import { BLOCK_TYPES, type BlockTypeName, OTHER_TYPES } from "./blocks.ts";

/** A value of metadata. Integers that a double cannot hold exactly come as bigint. */
export type GgufValue = number | bigint | boolean | string | GgufValue[];

/** One tensor of a file. Offsets are bytes from the start of the file. */
export interface GgufTensor {
  readonly name: string;
  readonly type: BlockTypeName;
  /** In PyTorch's order: [out, in], the reverse of the file's. */
  readonly shape: readonly number[];
  readonly byteStart: number;
  readonly byteEnd: number;
}

/** A checked header. */
export interface GgufHeader {
  readonly metadata: ReadonlyMap<string, GgufValue>;
  /** In the order of the file. */
  readonly tensors: readonly GgufTensor[];
}

/** The header goes on after the bytes that were given. */
export class HeaderGoesOn extends Error {}

const MAGIC = 0x46554747;
const DEFAULT_ALIGNMENT = 32;
/** ggml's limit. */
const MOST_AXES = 4;
/** A tensor's description: a name's length, axes, type and offset. */
const LEAST_TENSOR_BYTES = 24;
/** A pair's description: a key's length, a type and a byte. */
const LEAST_PAIR_BYTES = 13;
const AGAIN = "The file is damaged or was written by a faulty tool: download or convert it again.";

/** What one type of metadata is: the fewest bytes of a value, and how it is read. */
interface ValueType {
  bytes: number;
  read: (cursor: Cursor, key: string) => GgufValue;
}

const exact = (value: bigint): number | bigint => (BigInt(Number(value)) === value ? Number(value) : value);
const fixed = (bytes: number, read: (view: DataView, at: number) => GgufValue): ValueType => ({
  bytes,
  read: (cursor) => read(cursor.view, cursor.take(bytes)),
});

/** By the number of the type in a file. */
const VALUE_TYPES: readonly ValueType[] = [
  fixed(1, (view, at) => view.getUint8(at)),
  fixed(1, (view, at) => view.getInt8(at)),
  fixed(2, (view, at) => view.getUint16(at, true)),
  fixed(2, (view, at) => view.getInt16(at, true)),
  fixed(4, (view, at) => view.getUint32(at, true)),
  fixed(4, (view, at) => view.getInt32(at, true)),
  fixed(4, (view, at) => view.getFloat32(at, true)),
  { bytes: 1, read: readFlag },
  { bytes: 8, read: (cursor, key) => cursor.text(`the value of ${JSON.stringify(key)}`) },
  { bytes: 12, read: readArray },
  fixed(8, (view, at) => exact(view.getBigUint64(at, true))),
  fixed(8, (view, at) => exact(view.getBigInt64(at, true))),
  fixed(8, (view, at) => view.getFloat64(at, true)),
];
const ARRAY = 9;

const TYPE_NAMES = new Map(Object.entries(BLOCK_TYPES).map(([name, { id }]) => [id, name as BlockTypeName]));

// `ignoreBOM` keeps U+FEFF, which is a token of some vocabularies.
const UTF8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** Reads the start of a file, of which `bytes` are at hand. */
class Cursor {
  readonly view: DataView;
  at = 0;

  constructor(
    readonly bytes: Uint8Array,
    readonly fileLength: number,
    readonly fileName: string,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  fail(code: string, detail: string, remedy = AGAIN): never {
    throw new CheckpointError(code, `${this.fileName}: ${detail}. ${remedy}`);
  }

  /** Steps over `count` bytes and returns where they begin. */
  take(count: number): number {
    const start = this.at;
    if (start + count > this.fileLength) {
      const detail = `the header goes on after the end of the file, at byte ${this.fileLength}`;
      this.fail("checkpoint/truncated", detail, "The file is truncated: download it again.");
    }
    if (start + count > this.bytes.length) throw new HeaderGoesOn();
    this.at += count;
    return start;
  }

  u32(): number {
    return this.view.getUint32(this.take(4), true);
  }

  u64(): bigint {
    return this.view.getBigUint64(this.take(8), true);
  }

  /** A count of things of at least `leastBytes` each, which must find room in the rest of the file. */
  count(what: string, leastBytes: number): number {
    const count = this.u64();
    const room = Math.floor((this.fileLength - this.at) / leastBytes);
    if (count > BigInt(room))
      this.fail("checkpoint/metadata", `${what} would be ${count}, and the file has room for ${room}`);
    return Number(count);
  }

  text(what: string): string {
    const length = this.count(`the bytes of ${what}`, 1);
    const start = this.take(length);
    return UTF8.decode(this.bytes.subarray(start, start + length));
  }
}

function readFlag(cursor: Cursor, key: string): boolean {
  const byte = cursor.view.getUint8(cursor.take(1));
  if (byte > 1)
    cursor.fail("checkpoint/metadata", `${JSON.stringify(key)} should be true (1) or false (0), and is ${byte}`);
  return byte === 1;
}

function readArray(cursor: Cursor, key: string): GgufValue[] {
  const number = cursor.u32();
  const { bytes, read } = valueType(cursor, number, key);
  if (number === ARRAY)
    cursor.fail("checkpoint/metadata", `${JSON.stringify(key)} is a list of lists, which no known key is`);
  const count = cursor.count(`the values of ${JSON.stringify(key)}`, bytes);
  const values: GgufValue[] = [];
  for (let i = 0; i < count; i++) values.push(read(cursor, key));
  return values;
}

function valueType(cursor: Cursor, number: number, key: string): ValueType {
  const type = VALUE_TYPES[number];
  if (type) return type;
  return cursor.fail(
    "checkpoint/metadata",
    `${JSON.stringify(key)} has the type ${number}, and the format has 0 to 12`,
  );
}

/**
 * Parses and checks the header.
 * @param bytes the first bytes of the file
 * @param fileLength bytes of the whole file
 * @param fileName names the file in errors
 * @throws HeaderGoesOn when it needs more bytes; CheckpointError for everything that is wrong
 */
export function parseGguf(bytes: Uint8Array, fileLength: number, fileName: string): GgufHeader {
  const cursor = new Cursor(bytes, fileLength, fileName);
  checkStart(cursor);
  const tensorCount = cursor.count("the tensors", LEAST_TENSOR_BYTES);
  const pairCount = cursor.count("the pairs of metadata", LEAST_PAIR_BYTES);
  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < pairCount; i++) {
    const key = cursor.text("a key");
    if (metadata.has(key))
      cursor.fail("checkpoint/duplicate-key", `the metadata has the key ${JSON.stringify(key)} twice`);
    metadata.set(key, valueType(cursor, cursor.u32(), key).read(cursor, key));
  }
  const described: Described[] = [];
  for (let i = 0; i < tensorCount; i++) described.push(readTensor(cursor));
  return { metadata, tensors: placeTensors(cursor, described, alignmentOf(cursor, metadata)) };
}

function checkStart(cursor: Cursor): void {
  if (cursor.fileLength < 4)
    cursor.fail("checkpoint/truncated", `the file has ${cursor.fileLength} bytes`, "Download it again.");
  const magic = cursor.u32();
  if (magic !== MAGIC) {
    const start = UTF8.decode(cursor.bytes.subarray(0, 4));
    const remedy =
      start === "vers"
        ? "This looks like a Git LFS pointer: run `git lfs pull` to fetch the weights."
        : "Check that it is the model and not a web page or another format; ggml files from before GGUF must be converted anew.";
    cursor.fail("checkpoint/gguf", `a GGUF file begins with "GGUF", this one with ${JSON.stringify(start)}`, remedy);
  }
  const version = cursor.u32();
  if (version === 2 || version === 3) return;
  if ((version & 0xffff) === 0 && version !== 0)
    cursor.fail(
      "checkpoint/gguf",
      "the file is big-endian",
      "Convert it with gguf-py's `gguf-convert-endian FILE little`.",
    );
  const remedy = "Convert the model anew with llama.cpp's convert_hf_to_gguf.py.";
  cursor.fail("checkpoint/gguf", `the file has version ${version} of GGUF; 2 and 3 can be read`, remedy);
}

type Described = Omit<GgufTensor, "byteStart" | "byteEnd"> & { offset: bigint; byteLength: number };

function readTensor(cursor: Cursor): Described {
  const name = cursor.text("the name of a tensor");
  const tensor = `tensor ${JSON.stringify(name)}`;
  const axes = cursor.u32();
  if (axes > MOST_AXES) cursor.fail("checkpoint/shape", `${tensor} has ${axes} axes; the format allows ${MOST_AXES}`);
  const sizes = Array.from({ length: axes }, () => Number(cursor.u64()));
  const weights = sizes.reduce((product, size) => product * size, 1);
  if (!Number.isSafeInteger(weights)) cursor.fail("checkpoint/shape", `${tensor} has the sizes ${sizes.join(", ")}`);
  const type = typeOf(cursor, cursor.u32(), tensor);
  const { weights: perBlock, bytes } = BLOCK_TYPES[type];
  if ((sizes[0] ?? 1) % perBlock !== 0) {
    cursor.fail(
      "checkpoint/shape",
      `${tensor} has rows of ${sizes[0]}, which blocks of ${perBlock} (${type}) do not fill`,
    );
  }
  return { name, type, shape: sizes.reverse(), offset: cursor.u64(), byteLength: (weights / perBlock) * bytes };
}

function typeOf(cursor: Cursor, id: number, tensor: string): BlockTypeName {
  const name = TYPE_NAMES.get(id);
  if (name) return name;
  const known = OTHER_TYPES.get(id);
  const remedy = `Take the model in one of ${[...TYPE_NAMES.values()].join(", ")}, or quantize it anew to one.`;
  return cursor.fail(
    "checkpoint/dtype",
    `${tensor} has the type ${known ?? `number ${id}`}, which cannot be read`,
    remedy,
  );
}

function alignmentOf(cursor: Cursor, metadata: ReadonlyMap<string, GgufValue>): number {
  const alignment = metadata.get("general.alignment") ?? DEFAULT_ALIGNMENT;
  if (typeof alignment === "number" && alignment >= 8 && Number.isInteger(Math.log2(alignment))) return alignment;
  return cursor.fail("checkpoint/metadata", `general.alignment is ${String(alignment)}, not a power of two from 8 up`);
}

/** Offsets count from the end of the header, aligned. Tensors may leave room between them, and must not share bytes. */
function placeTensors(cursor: Cursor, described: readonly Described[], alignment: number): GgufTensor[] {
  const dataStart = Math.ceil(cursor.at / alignment) * alignment;
  const names = new Set<string>();
  const tensors = described.map(({ offset, byteLength, name, type, shape }): GgufTensor => {
    const tensor = `tensor ${JSON.stringify(name)}`;
    if (names.has(name)) cursor.fail("checkpoint/duplicate-key", `the file has ${tensor} twice`);
    names.add(name);
    if (offset % BigInt(alignment) !== 0n)
      cursor.fail(
        "checkpoint/offsets",
        `${tensor} begins at ${offset}, which is no multiple of the alignment, ${alignment}`,
      );
    const byteStart = dataStart + Number(offset);
    const byteEnd = byteStart + byteLength;
    if (byteEnd > cursor.fileLength) {
      const detail = `${tensor} ends at byte ${byteEnd}, the file at ${cursor.fileLength}`;
      cursor.fail("checkpoint/truncated", detail, "The file is truncated: download it again.");
    }
    return { name, type, shape, byteStart, byteEnd };
  });
  const inOrder = tensors.toSorted((a, b) => a.byteStart - b.byteStart || a.byteEnd - b.byteEnd);
  for (const [i, { name, byteStart }] of inOrder.entries()) {
    const before = inOrder[i - 1];
    if (before && before.byteEnd > byteStart)
      cursor.fail(
        "checkpoint/overlap",
        `the tensors ${JSON.stringify(before.name)} and ${JSON.stringify(name)} share bytes`,
      );
  }
  return tensors;
}
