/**
 * Weights of a GGUF file as its `TensorInfo` describes them. Weights in blocks stay in their blocks, in Hugging Face's order of
 * rows; only norms that the converter added one to are turned into f32 without it.
 */
import { readByRows } from "../by-rows.ts";
import type { CheckpointSource } from "../source.ts";
import type { ReadTensor, TensorInfo } from "../tensor-info.ts";
import { BLOCK_TYPES } from "./blocks.ts";
import type { GgufTensor } from "./header.ts";

/** A tensor of a file, and how its rows and values differ from Hugging Face's. */
export interface Placed extends InFile {
  /** What it is read as. */
  readonly info: TensorInfo;
  /** The heads whose rows lie as neighbouring pairs, where Hugging Face has the halves of a rotation; 0 where rows lie alike. */
  readonly pairedHeads: number;
  /** Subtracted from each value. */
  readonly minus: 0 | 1;
  /** Its rows are the even ones, and those of this tensor the odd ones. */
  readonly odd?: InFile;
}

/** A tensor and its file. */
export interface InFile extends GgufTensor {
  readonly file: string;
}

/** Reads bytes of a tensor, from `start` to `end`, as its `TensorInfo` describes them. `placed` is by the names of those. */
export function rowReader(source: CheckpointSource, placed: ReadonlyMap<string, Placed>): ReadTensor {
  return async ({ name }, start, end) => {
    const tensor = placed.get(name) as Placed;
    const { info, byteStart } = tensor;
    if (info.storedAs === undefined && tensor.pairedHeads === 0 && !tensor.odd)
      return source.read(info.file, byteStart + start, byteStart + end);
    return readByRows(info, rowsOf(tensor), start, end, async (first, last) => {
      const stored = await storedRows(source, tensor, first, last);
      return info.storedAs === undefined ? stored : weightsOf(tensor, stored);
    });
  };
}

/** Weights as the bytes of f32. */
export function weightsOf({ type, minus }: Pick<Placed, "type" | "minus">, stored: Uint8Array): Uint8Array {
  const { weights, bytes, dequantise } = BLOCK_TYPES[type];
  const out = new Float32Array((stored.length / bytes) * weights);
  dequantise(stored, out);
  if (minus !== 0) for (let i = 0; i < out.length; i++) out[i] = (out[i] as number) - minus;
  return new Uint8Array(out.buffer);
}

const product = (sizes: readonly number[]): number => sizes.reduce((all, size) => all * size, 1);

/** Rows of all matrices. A vector is one row, or, where rows change places, as many as it has elements. */
function rowsOf({ shape, pairedHeads, odd, info }: Placed): number {
  if (pairedHeads > 0) return shape[0] ?? 1;
  if (odd && info.shape.length < 3) return product(info.shape); // a vector of each expert
  return product(info.shape.slice(0, -1));
}

/** Rows `first` to `last` in Hugging Face's order, in the blocks that the file stores. */
async function storedRows(source: CheckpointSource, tensor: Placed, first: number, last: number): Promise<Uint8Array> {
  if (tensor.odd) return rowsByTurns(source, tensor, tensor.odd, first, last);
  const { info, byteStart, byteEnd, pairedHeads } = tensor;
  const rowBytes = (byteEnd - byteStart) / rowsOf(tensor);
  const read = (from: number, to: number) =>
    source.read(info.file, byteStart + from * rowBytes, byteStart + to * rowBytes);
  if (pairedHeads === 0) return read(first, last);
  const dHead = rowsOf(tensor) / pairedHeads;
  const start = Math.floor(first / dHead) * dHead;
  const heads = await read(start, Math.ceil(last / dHead) * dHead);
  const out = new Uint8Array((last - first) * rowBytes);
  for (let row = first; row < last; row++) {
    const from = (pairedRow(row, dHead) - start) * rowBytes;
    out.set(heads.subarray(from, from + rowBytes), (row - first) * rowBytes);
  }
  return out;
}

/** Rows of two tensors in turn. */
async function rowsByTurns(source: CheckpointSource, even: Placed, odd: InFile, first: number, last: number) {
  const rowBytes = even.info.byteLength / rowsOf(even);
  const [from, to] = [Math.floor(first / 2), Math.ceil(last / 2)];
  const out = new Uint8Array(2 * (to - from) * rowBytes);
  for (const [turn, { file, byteStart }] of [even, odd].entries()) {
    const rows = await source.read(file, byteStart + from * rowBytes, byteStart + to * rowBytes);
    for (let row = 0; row < to - from; row++)
      out.set(rows.subarray(row * rowBytes, (row + 1) * rowBytes), (2 * row + turn) * rowBytes);
  }
  return out.subarray((first - 2 * from) * rowBytes, (last - 2 * from) * rowBytes);
}

/** Where the file has Hugging Face's row `h dHead + half dHead / 2 + i`: at `h dHead + 2 i + half`. */
function pairedRow(row: number, dHead: number): number {
  const inHead = row % dHead;
  const half = inHead < dHead / 2 ? 0 : 1;
  return row - inHead + 2 * (inHead - (half * dHead) / 2) + half;
}
