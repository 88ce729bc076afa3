/** Bytes of a tensor that is made row by row of what lies in a file. */
import type { TensorInfo } from "./tensor-info.ts";

/** Rows `first` to `last` of a tensor, as bytes of its type. */
export type ReadRows = (first: number, last: number) => Promise<Uint8Array>;

/** Bytes `start` to `end` of a tensor of `rows` rows. */
export async function readByRows(
  { byteLength }: Pick<TensorInfo, "byteLength">,
  rows: number,
  start: number,
  end: number,
  readRows: ReadRows,
): Promise<Uint8Array> {
  if (start === end) return new Uint8Array(0);
  const rowBytes = byteLength / rows;
  const first = Math.floor(start / rowBytes);
  const bytes = await readRows(first, Math.ceil(end / rowBytes));
  return bytes.subarray(start - first * rowBytes, end - first * rowBytes);
}
