/**
 * NumPy's `.npz`: a zip archive of `.npy` arrays, stored or deflated (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html;
 * zip: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT). Arrays of numbers alone are read. An array of Python objects is a
 * pickle, which could run anything, and is refused.
 */
import { CheckpointError } from "../errors.ts";
import type { Dtype } from "./dtype.ts";
import type { CheckpointSource } from "./source.ts";

/** An array of an archive, whole. */
export interface NpzArray {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

const END_SIGNATURE = 0x06054b50;
const ENTRY_SIGNATURE = 0x02014b50;
const LOCAL_SIGNATURE = 0x04034b50;
const END_BYTES = 22;
/** In a field whose value stands in the entry's zip64 extra instead. */
const IN_ZIP64 = 0xffffffff;
const ZIP64_EXTRA = 1;
const STORED = 0;
const DEFLATED = 8;

/** numpy's names of little-endian types, without the byte order. */
const DTYPES: Readonly<Record<string, Dtype>> = {
  f2: "F16",
  f4: "F32",
  f8: "F64",
  i4: "I32",
  i8: "I64",
  b1: "BOOL",
  u1: "U8",
};

function broken(file: string, what: string): CheckpointError {
  return new CheckpointError(
    "checkpoint/npz",
    `${file}: ${what}. Download it again, or save it anew with numpy.savez.`,
  );
}

interface Entry {
  readonly name: string;
  readonly method: number;
  readonly packedBytes: number;
  readonly offset: number;
}

/**
 * Every array of an archive.
 * @throws CheckpointError `checkpoint/npz` for what is no archive of arrays of numbers, `checkpoint/pickle` for Python objects
 */
export async function readNpz(source: CheckpointSource, file: string): Promise<NpzArray[]> {
  const arrays: NpzArray[] = [];
  for (const entry of await entriesOf(source, file)) {
    if (!entry.name.endsWith(".npy")) throw broken(file, `${entry.name} is no .npy array`);
    arrays.push(parseNpy(await contentOf(source, file, entry), entry.name.slice(0, -".npy".length), file));
  }
  return arrays;
}

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** The central directory at the archive's end. */
async function entriesOf(source: CheckpointSource, file: string): Promise<Entry[]> {
  const size = await source.size(file);
  const tail = await source.read(file, Math.max(0, size - END_BYTES - 65535), size);
  const end = viewOf(tail);
  let at = tail.length - END_BYTES;
  while (at >= 0 && end.getUint32(at, true) !== END_SIGNATURE) at -= 1;
  if (at < 0) throw broken(file, "it is no zip archive");
  const [count, bytes, start] = [
    end.getUint16(at + 10, true),
    end.getUint32(at + 12, true),
    end.getUint32(at + 16, true),
  ];
  if (start === IN_ZIP64 || start + bytes > size) throw broken(file, "its directory lies outside of it");
  const directory = await source.read(file, start, start + bytes);
  const view = viewOf(directory);
  const entries: Entry[] = [];
  for (let place = 0; entries.length < count; ) {
    if (place + 46 > bytes || view.getUint32(place, true) !== ENTRY_SIGNATURE)
      throw broken(file, "its directory is damaged");
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((field) => view.getUint16(place + field, true)) as [
      number,
      number,
      number,
    ];
    const nameStart = place + 46;
    const name = new TextDecoder().decode(directory.subarray(nameStart, nameStart + nameBytes));
    const extra = directory.subarray(nameStart + nameBytes, nameStart + nameBytes + extraBytes);
    const fields = [24, 20, 42].map((field) => view.getUint32(place + field, true));
    const [, packedBytes, offset] = withZip64(fields, extra) as [number, number, number];
    entries.push({ name, method: view.getUint16(place + 10, true), packedBytes, offset });
    place = nameStart + nameBytes + extraBytes + commentBytes;
  }
  return entries;
}

/** Unpacked bytes, packed bytes and offset, each from the zip64 extra where it does not fit in its field. */
function withZip64(fields: readonly number[], extra: Uint8Array): number[] {
  const view = viewOf(extra);
  let at = 0;
  while (at + 4 <= extra.length && view.getUint16(at, true) !== ZIP64_EXTRA) at += 4 + view.getUint16(at + 2, true);
  at += 4;
  return fields.map((value) => {
    if (value !== IN_ZIP64 || at + 8 > extra.length) return value;
    at += 8;
    return Number(view.getBigUint64(at - 8, true));
  });
}

async function contentOf(
  source: CheckpointSource,
  file: string,
  { name, method, packedBytes, offset }: Entry,
): Promise<Uint8Array> {
  const head = viewOf(await source.read(file, offset, offset + 30));
  if (head.getUint32(0, true) !== LOCAL_SIGNATURE)
    throw broken(file, `${name} does not begin where its directory says`);
  const start = offset + 30 + head.getUint16(26, true) + head.getUint16(28, true);
  const packed = await source.read(file, start, start + packedBytes);
  if (method === STORED) return packed;
  if (method !== DEFLATED) throw broken(file, `${name} is packed by method ${method}; it must be stored or deflated`);
  const stream = new Blob([packed as Uint8Array<ArrayBuffer>])
    .stream()
    .pipeThrough(new DecompressionStream("deflate-raw"));
  try {
    return new Uint8Array(await new Response(stream).arrayBuffer());
  } catch (cause) {
    throw new CheckpointError("checkpoint/npz", `${file}: ${name} cannot be unpacked. Download it again.`, { cause });
  }
}

/** `\x93NUMPY`, a version, and a Python dict: `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`. */
function parseNpy(content: Uint8Array, name: string, file: string): NpzArray {
  const view = viewOf(content);
  const isNpy =
    content.length > 12 && content[0] === 0x93 && new TextDecoder().decode(content.subarray(1, 6)) === "NUMPY";
  if (!isNpy) throw broken(file, `${name} is no .npy array`);
  const isFirst = content[6] === 1;
  const start = isFirst ? 10 : 12;
  const end = start + (isFirst ? view.getUint16(8, true) : view.getUint32(8, true));
  const header = new TextDecoder().decode(content.subarray(start, end));
  const descr = /'descr':\s*'([^']*)'/.exec(header)?.[1];
  const isFortran = /'fortran_order':\s*True/.test(header);
  const shape = /'shape':\s*\(([\d,\s]*)\)/
    .exec(header)?.[1]
    ?.split(",")
    .map((size) => size.trim())
    .filter((size) => size !== "")
    .map(Number);
  if (descr === undefined || shape === undefined) throw broken(file, `the header of ${name} is not understood`);
  if (descr.includes("O"))
    throw new CheckpointError(
      "checkpoint/pickle",
      `${file}: ${name} holds Python objects, which would have to be unpickled, and a pickle may run anything. Save the numbers themselves with numpy.savez.`,
    );
  const dtype = /^[<|]/.test(descr) ? DTYPES[descr.slice(1)] : undefined;
  if (!dtype) throw broken(file, `${name} has the type ${descr}; numbers in little-endian order are read`);
  if (isFortran && shape.length > 1)
    throw broken(file, `${name} lies in Fortran's order; numpy.ascontiguousarray makes it C's`);
  const bytes = content.slice(end);
  const wanted = shape.reduce((product, size) => product * size, Number(descr.slice(2)));
  if (bytes.length !== wanted) throw broken(file, `${name} has ${bytes.length} bytes, and its shape needs ${wanted}`);
  return { name, dtype, shape, bytes };
}
