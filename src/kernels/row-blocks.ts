/** Results that are larger than a binding, such as the logits of many positions, are written and read block by block. */
import { GpuError } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { BufferSlice } from "../gpu/recorder.ts";
import type { View } from "./view.ts";

export interface RowBlock {
  /** First row of the block, counted from the view's first. */
  readonly first: number;
  readonly rows: number;
  readonly slice: BufferSlice;
  /** Elements before the block's first row in the slice. */
  readonly outStart: number;
}

/**
 * Cuts `count` rows of a view into blocks that fit in one binding. A binding starts at a multiple of 64 rows, which is one
 * of 256 bytes, and `outStart` elements before the block's first row.
 * @throws GpuError `gpu/binding-limit` when 64 rows do not fit.
 */
export function rowBlocks(gpu: Gpu, { buffer, start, rowStride }: View, count: number): RowBlock[] {
  const limit = gpu.limits.maxStorageBufferBindingSize;
  if ((buffer.size ?? buffer.buffer.size) <= limit) return [{ first: 0, rows: count, slice: buffer, outStart: start }];
  const rowBytes = rowStride * 4;
  const perBinding = Math.floor(limit / rowBytes / 64) * 64;
  if (perBinding === 0) {
    throw new GpuError(
      "gpu/binding-limit",
      `64 rows of logits take ${64 * rowBytes} bytes; this adapter binds at most ${limit}. Ask for the logits of fewer positions at once.`,
    );
  }
  const firstRow = Math.floor(start / rowStride);
  const blocks: RowBlock[] = [];
  for (let row = firstRow; row < firstRow + count; ) {
    const bound = Math.floor(row / 64) * 64;
    const rows = Math.min(firstRow + count, bound + perBinding) - row;
    blocks.push({
      first: row - firstRow,
      rows,
      slice: { buffer: buffer.buffer, offset: bound * rowBytes, size: (row - bound + rows) * rowBytes },
      outStart: (row - bound) * rowStride + (start % rowStride),
    });
    row += rows;
  }
  return blocks;
}
