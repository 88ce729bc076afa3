/** From the bytes of a checkpoint tensor to the bytes of a matrix on the GPU. */
import {
  type BlockType,
  blockSize,
  dequantize,
  isBlockType,
  quantize,
  type TensorType,
} from "../../checkpoint/blocks.ts";
import { type Dtype, f32ToF16, toFloat32, widenF8ToF16 } from "../../checkpoint/index.ts";
import { CheckpointError } from "../../errors.ts";
import {
  BLOCK_LAYOUTS,
  type BlockStorage,
  ELEMENT_BYTES,
  isBlockStorage,
  type StorageType,
} from "../../kernels/storage.ts";

/** How each float type of a checkpoint is stored: never with less precision. */
const STORAGE_OF: Partial<Record<TensorType, StorageType>> = {
  F16: "f16",
  BF16: "bf16",
  F8_E4M3: "f16",
  F8_E5M2: "f16",
};

/** The storage of a checkpoint's type: never less precise. */
export function storageOf(dtype: TensorType): StorageType {
  return isBlockType(dtype) ? (dtype.toLowerCase() as BlockStorage) : (STORAGE_OF[dtype] ?? "f32");
}

/** The storage of matrices that lie stacked: their common type, or f32. */
export function commonStorage(dtypes: readonly TensorType[]): StorageType {
  const [first = "f32", ...others] = dtypes.map(storageOf);
  return others.every((other) => other === first) ? first : "f32";
}

/**
 * Rows of `width` elements of a checkpoint's type as rows of `stride` elements of a storage type. Numbers are quantised where
 * the storage has blocks and the checkpoint has not; what a row has beyond its width is zero.
 * @throws CheckpointError `checkpoint/not-representable` for numbers that are too large for f16
 */
export function toStorage(
  bytes: Uint8Array,
  dtype: TensorType,
  storage: StorageType,
  width: number,
  stride: number,
): Uint8Array {
  if (isBlockStorage(storage)) return toBlocks(bytes, dtype, storage, width, stride);
  const packed = convert(bytes, dtype, storage);
  return paddedRows(packed, width * ELEMENT_BYTES[storage], stride * ELEMENT_BYTES[storage]);
}

function paddedRows(packed: Uint8Array, rowBytes: number, strideBytes: number): Uint8Array {
  if (strideBytes === rowBytes) return packed;
  const rows = packed.byteLength / rowBytes;
  const padded = new Uint8Array(rows * strideBytes);
  for (let row = 0; row < rows; row++)
    padded.set(packed.subarray(row * rowBytes, (row + 1) * rowBytes), row * strideBytes);
  return padded;
}

function convert(bytes: Uint8Array, dtype: TensorType, storage: StorageType): Uint8Array {
  if (dtype.toLowerCase() === storage) return bytes;
  if (storage === "f16" && (dtype === "F8_E4M3" || dtype === "F8_E5M2")) return asBytes(widenF8ToF16(bytes, dtype));
  const values = numbersOf(bytes, dtype);
  return asBytes(storage === "f16" ? narrowed(values, dtype) : values);
}

/** The numbers that a tensor's bytes stand for. */
export function numbersOf(bytes: Uint8Array, dtype: TensorType): Float32Array {
  return isBlockType(dtype) ? dequantize(bytes, dtype) : toFloat32(bytes, dtype);
}

function narrowed(values: Float32Array, dtype: TensorType): Uint16Array {
  const large = values.find((value) => Math.abs(value) >= 65520 && Number.isFinite(value));
  if (large === undefined) return f32ToF16(values);
  throw new CheckpointError(
    "checkpoint/not-representable",
    `A ${dtype} weight is ${large}, and f16 ends at 65504. Load the model without weights: "f16".`,
  );
}

/** Rows of blocks: a checkpoint's as they are, or numbers that are quantised here. */
function toBlocks(
  bytes: Uint8Array,
  dtype: TensorType,
  storage: BlockStorage,
  width: number,
  stride: number,
): Uint8Array {
  const type = storage.toUpperCase() as BlockType;
  if (dtype === type) {
    const { elements, bytes: size } = blockSize(type);
    return laidOut(paddedRows(bytes, (width / elements) * size, (stride / elements) * size), type, storage);
  }
  const values = paddedRows(asBytes(numbersOf(bytes, dtype)), 4 * width, 4 * stride);
  return laidOut(
    quantize(new Float32Array(values.buffer, values.byteOffset, values.byteLength / 4), type),
    type,
    storage,
  );
}

/** Blocks of a checkpoint as kernels read them. */
function laidOut(bytes: Uint8Array, type: BlockType, storage: BlockStorage): Uint8Array {
  const { blocks, words, fields } = BLOCK_LAYOUTS[storage];
  const size = blockSize(type).bytes;
  const out = new Uint8Array((bytes.length / (size * blocks)) * 4 * words);
  if (out.length === bytes.length && fields.length === 1) return bytes;
  for (let from = 0, group = 0; from < bytes.length; from += size * blocks, group += 4 * words) {
    let to = group;
    for (const [start, end] of fields) {
      for (let block = 0; block < blocks; block++) {
        const at = from + block * size;
        for (let byte = at + start; byte < at + end; byte++) out[to++] = bytes[byte] as number;
      }
    }
  }
  return out;
}

/** Words of a matrix on the GPU back to the numbers that they stand for: rows of `stride` elements. */
export function fromStorage(bytes: Uint8Array, storage: StorageType): Float32Array {
  if (!isBlockStorage(storage)) return toFloat32(bytes, storage.toUpperCase() as Dtype);
  const { blocks, words, fields } = BLOCK_LAYOUTS[storage];
  const type = storage.toUpperCase() as BlockType;
  const size = blockSize(type).bytes;
  const file = new Uint8Array((bytes.length / (4 * words)) * blocks * size);
  for (let to = 0, group = 0; to < file.length; to += size * blocks, group += 4 * words) {
    let from = group;
    for (const [start, end] of fields) {
      for (let block = 0; block < blocks; block++) {
        file.set(bytes.subarray(from, from + end - start), to + block * size + start);
        from += end - start;
      }
    }
  }
  return dequantize(file, type);
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
