/** A tensor's place in a checkpoint, and whether two places hold the same tensor. */

/** One tensor and where it lies. `byteStart` and `byteEnd` count from the start of `file`. */
export interface TensorInfo {
  readonly name: string;
  /** As the file spells it: a `Dtype`, or one that cannot be read (`isDtype` tells). */
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly file: string;
  readonly byteStart: number;
  readonly byteEnd: number;
  /** Bytes of its elements in `dtype`. */
  readonly byteLength: number;
  /** The type that lies in the file, such as GGUF's `Q4_K` or the `I8` of codes, where reading the tensor turns it into `dtype`. */
  readonly storedAs?: string;
  /** It is [.., out, in], although its family's checkpoints have this weight [.., in, out]. */
  readonly isTurned?: boolean;
}

/** Reads bytes `start` to `end` of a tensor, counted from its first. */
export type ReadTensor = (tensor: TensorInfo, start: number, end: number) => Promise<Uint8Array>;

/** Tensors that differ usually do so at once, so the first pieces are small; then each is four times the last. */
const FIRST_PIECE_BYTES = 64 << 10;
const LAST_PIECE_BYTES = 16 << 20;

/** Whether two tensors have one type, one shape and the same bytes. Reads both up to the first piece that differs. */
export async function sameTensor(a: TensorInfo, b: TensorInfo, read: ReadTensor): Promise<boolean> {
  const sameShape = a.shape.length === b.shape.length && a.shape.every((size, axis) => size === b.shape[axis]);
  if (a.dtype !== b.dtype || !sameShape || a.byteLength !== b.byteLength) return false;
  let piece = FIRST_PIECE_BYTES;
  for (let start = 0; start < a.byteLength; ) {
    const end = Math.min(start + piece, a.byteLength);
    if (!sameBytes(await read(a, start, end), await read(b, start, end))) return false;
    start = end;
    piece = Math.min(4 * piece, LAST_PIECE_BYTES);
  }
  return true;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
