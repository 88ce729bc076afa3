/**
 * Weights of a GGUF file as its `TensorInfo` describes them. Weights in blocks come out as f32, unpacked row by row as they are
 * asked for (`weightsOf`): that one function decides what a quantized weight becomes.
 */
import type { CheckpointSource } from "../source.ts";
import type { ReadTensor, TensorInfo } from "../tensor-info.ts";
import { BLOCK_TYPES } from "./blocks.ts";
import type { GgufTensor } from "./header.ts";

/** A tensor of a file, and how its rows and values differ from Hugging Face's. */
export interface Placed extends GgufTensor {
  /** What it is read as. */
  readonly info: TensorInfo;
  /** The heads whose rows lie as neighbouring pairs, where Hugging Face has the halves of a rotation; 0 where rows lie alike. */
  readonly pairedHeads: number;
  /** Subtracted from each value. */
  readonly minus: 0 | 1;
}

/** Reads bytes of a tensor, from `start` to `end`, as its `TensorInfo` describes them. `placed` is by the names of those. */
export function rowReader(source: CheckpointSource, placed: ReadonlyMap<string, Placed>): ReadTensor {
  return async ({ name }, start, end) => {
    const tensor = placed.get(name) as Placed;
    const { info, byteStart } = tensor;
    if (info.storedAs === undefined && tensor.pairedHeads === 0)
      return source.read(info.file, byteStart + start, byteStart + end);
    if (start === end) return new Uint8Array(0);
    const rowBytes = info.byteLength / rowsOf(tensor);
    const first = Math.floor(start / rowBytes);
    const last = Math.ceil(end / rowBytes);
    const stored = await storedRows(source, tensor, first, last);
    const bytes = info.storedAs === undefined ? stored : weightsOf(tensor, stored);
    return bytes.subarray(start - first * rowBytes, end - first * rowBytes);
  };
}

/** Weights as the bytes of f32. */
function weightsOf({ type, minus }: Placed, stored: Uint8Array): Uint8Array {
  const { weights, bytes, dequantise } = BLOCK_TYPES[type];
  const out = new Float32Array((stored.length / bytes) * weights);
  dequantise(stored, out);
  if (minus !== 0) for (let i = 0; i < out.length; i++) out[i] = (out[i] as number) - minus;
  return new Uint8Array(out.buffer);
}

/** Rows of a matrix. A vector is one row, or, where rows are paired, as many as it has elements. */
const rowsOf = ({ shape, pairedHeads }: Placed): number =>
  pairedHeads > 0 ? (shape[0] ?? 1) : shape.slice(0, -1).reduce((product, size) => product * size, 1);

/** Rows `first` to `last` in Hugging Face's order, in the blocks that the file stores. */
async function storedRows(source: CheckpointSource, tensor: Placed, first: number, last: number): Promise<Uint8Array> {
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

/** Where the file has Hugging Face's row `h dHead + half dHead / 2 + i`: at `h dHead + 2 i + half`. */
function pairedRow(row: number, dHead: number): number {
  const inHead = row % dHead;
  const half = inHead < dHead / 2 ? 0 : 1;
  return row - inHead + 2 * (inHead - (half * dHead) / 2) + half;
}
