/** Dictionaries made in tests: random tensors, and the files of each format that they are written to. */
import { type Dtype, FilesSource, f32ToBf16, f32ToF16, writeSafetensors } from "../../src/checkpoint/index.ts";
import { gaussians, seeded } from "../support/numbers.ts";

export type Arrays = Record<string, { shape: readonly number[]; data: Float32Array }>;

/** Random arrays of the shapes; vectors are small. */
export function randomArrays(seed: number, shapes: Record<string, readonly number[]>): Arrays {
  const random = seeded(seed);
  return Object.fromEntries(
    Object.entries(shapes).map(([name, shape]) => {
      const count = shape.reduce((product, size) => product * size, 1);
      const data = gaussians(random, count, shape.length > 1 ? 0.3 : 0.1);
      return [name, { shape, data: name.includes("threshold") ? data.map(Math.abs) : data }];
    }),
  );
}

/** What an array holds once it is stored in a type. */
export function stored(arrays: Arrays, dtype: Dtype): Uint8Array {
  const bytesOf = (data: Float32Array) => {
    const packed = dtype === "F16" ? f32ToF16(data) : dtype === "BF16" ? f32ToBf16(data) : data;
    return new Uint8Array(packed.buffer, packed.byteOffset, packed.byteLength);
  };
  return writeSafetensors(
    Object.entries(arrays).map(([name, { shape, data }]) => ({ name, dtype, shape, data: bytesOf(data) })),
  );
}

export function filesOf(files: Record<string, Uint8Array | string | object>, label = "a dictionary"): FilesSource {
  const isBytes = (content: unknown): content is Uint8Array => content instanceof Uint8Array;
  const named = Object.entries(files).map(([name, content]) => ({
    name,
    blob: new Blob([(isBytes(content) || typeof content === "string" ? content : JSON.stringify(content)) as BlobPart]),
  }));
  return new FilesSource(named, label);
}

/** A `.npy` file; `descr` as numpy writes it. */
export function npy(
  { shape, data }: { shape: readonly number[]; data: Float32Array },
  descr = "<f4",
  extra = "",
): Uint8Array {
  const dict = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape.join(", ")}${shape.length === 1 ? "," : ""}), ${extra}}`;
  const padded = `${dict.padEnd(64 * Math.ceil((dict.length + 11) / 64) - 11)}\n`;
  const head = Uint8Array.from([
    0x93,
    ...new TextEncoder().encode("NUMPY"),
    1,
    0,
    padded.length & 255,
    padded.length >> 8,
  ]);
  return Uint8Array.from([...head, ...new TextEncoder().encode(padded), ...new Uint8Array(data.buffer)]);
}

/** A zip archive, its entries stored or deflated. */
export async function zip(entries: Record<string, Uint8Array>, isDeflated = false): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let offset = 0;
  const push = (list: Uint8Array[], bytes: Uint8Array) => list.push(bytes);
  for (const [name, content] of Object.entries(entries)) {
    const stream = new Blob([content as BlobPart]).stream().pipeThrough(new CompressionStream("deflate-raw"));
    const packed = isDeflated ? new Uint8Array(await new Response(stream).arrayBuffer()) : content;
    const text = new TextEncoder().encode(name);
    const head = (isEntry: boolean) => {
      const view = new DataView(new ArrayBuffer(isEntry ? 46 : 30));
      view.setUint32(0, isEntry ? 0x02014b50 : 0x04034b50, true);
      const at = isEntry ? 10 : 8;
      view.setUint16(at, isDeflated ? 8 : 0, true);
      view.setUint32(at + 10, packed.length, true);
      view.setUint32(at + 14, content.length, true);
      view.setUint16(at + 18, text.length, true);
      if (isEntry) view.setUint32(42, offset, true);
      return new Uint8Array(view.buffer);
    };
    push(directory, Uint8Array.from([...head(true), ...text]));
    const local = Uint8Array.from([...head(false), ...text, ...packed]);
    push(parts, local);
    offset += local.length;
  }
  const size = directory.reduce((sum, { length }) => sum + length, 0);
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(8, directory.length, true);
  end.setUint16(10, directory.length, true);
  end.setUint32(12, size, true);
  end.setUint32(16, offset, true);
  return Uint8Array.from([...parts, ...directory, new Uint8Array(end.buffer)].flatMap((each) => [...each]));
}

/** x W + b for rows of x; W [width, out], or [out, width] when `isTransposed`. */
export function linear(
  x: ArrayLike<number>,
  W: { shape: readonly number[]; data: ArrayLike<number> },
  b?: ArrayLike<number>,
  isTransposed = false,
): Float64Array {
  const [width, out] = (isTransposed ? [...W.shape].reverse() : W.shape) as [number, number];
  const rows = x.length / width;
  return Float64Array.from({ length: rows * out }, (_, i) => {
    const [row, n] = [Math.floor(i / out), i % out];
    let sum = b?.[n] ?? 0;
    for (let k = 0; k < width; k++) sum += x[row * width + k]! * W.data[isTransposed ? n * width + k : k * out + n]!;
    return sum;
  });
}

/** The k largest of each row that are above 0. */
export function topK(x: Float64Array, width: number, k: number): Float64Array {
  return x.map((value, i) => {
    const row = x.subarray(Math.floor(i / width) * width, (Math.floor(i / width) + 1) * width);
    return value > 0 && row.filter((other) => other > value).length < k ? value : 0;
  });
}
