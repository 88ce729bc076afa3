/** From the bytes of a checkpoint tensor to the bytes of a matrix on the GPU. */
import { type Dtype, toFloat32, widenF8ToF16 } from "../../checkpoint/index.ts";
import type { StorageType } from "../../kernels/definitions.ts";
import { ELEMENT_BYTES } from "../../kernels/matrix.ts";

/** How each float type of a checkpoint is stored: never with less precision. */
const STORAGE_OF: Partial<Record<Dtype, StorageType>> = { F16: "f16", BF16: "bf16", F8_E4M3: "f16", F8_E5M2: "f16" };

/** The storage of matrices that lie stacked: their common type, or f32. */
export function commonStorage(dtypes: readonly Dtype[]): StorageType {
  const [first = "f32", ...others] = dtypes.map((dtype) => STORAGE_OF[dtype] ?? "f32");
  return others.every((other) => other === first) ? first : "f32";
}

/** Rows of `width` elements of a checkpoint's type as rows of `stride` elements of a storage type. */
export function toStorage(
  bytes: Uint8Array,
  dtype: Dtype,
  storage: StorageType,
  width: number,
  stride: number,
): Uint8Array {
  const packed = convert(bytes, dtype, storage);
  if (stride === width) return packed;
  const element = ELEMENT_BYTES[storage];
  const rows = packed.byteLength / (width * element);
  const padded = new Uint8Array(rows * stride * element);
  for (let row = 0; row < rows; row++) {
    padded.set(packed.subarray(row * width * element, (row + 1) * width * element), row * stride * element);
  }
  return padded;
}

function convert(bytes: Uint8Array, dtype: Dtype, storage: StorageType): Uint8Array {
  if (storage === "f32") return dtype === "F32" ? bytes : asBytes(toFloat32(bytes, dtype));
  if (dtype === "F8_E4M3" || dtype === "F8_E5M2") return asBytes(widenF8ToF16(bytes, dtype));
  return bytes;
}

function asBytes(array: Float32Array | Uint16Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** [rows, columns] to [columns, rows], elements of `size` bytes. */
export function transposeBytes(bytes: Uint8Array, rows: number, columns: number, size: number): Uint8Array {
  const Elements = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: BigUint64Array }[size] as typeof Uint32Array;
  const aligned = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  const source = new Elements(aligned.buffer as ArrayBuffer, aligned.byteOffset, rows * columns);
  const target = new Elements(rows * columns);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++)
      target[column * rows + row] = source[row * columns + column] as number;
  }
  return new Uint8Array(target.buffer);
}
