/**
 * Where an activation lies in memory. Kernels, captures and edits share this one description of strided memory.
 *
 * Row r, head h, dimension d is element `start + r * rowStride + h * headStride + d` of the buffer. An activation without
 * heads has one head. A `Tensor` owns memory, a `BufferSlice` is the part of a buffer that is bound, and a view has its
 * strides.
 */
import type { BufferSlice } from "../gpu/recorder.ts";

export interface View {
  readonly buffer: BufferSlice;
  readonly start: number;
  readonly rowStride: number;
  readonly heads: number;
  readonly headStride: number;
  readonly width: number;
}

/** Rows of `heads` vectors of `width`, one behind the other. */
export function packedView(buffer: BufferSlice, width: number, heads = 1, start = 0): View {
  return { buffer, start, rowStride: heads * width, heads, headStride: width, width };
}

/** Whether nothing lies between the rows, so that they may be read as one run of elements. */
export function isPacked({ rowStride, heads, headStride, width }: View): boolean {
  return rowStride === heads * width && (heads === 1 || headStride === width);
}

/** Whether views lie behind one another in the rows of one buffer, as the parts of a stacked projection do. */
export function areAdjacent(views: readonly View[]): boolean {
  return views.every((view, index) => {
    const before = views[index - 1];
    if (!before) return true;
    return (
      view.buffer === before.buffer &&
      view.rowStride === before.rowStride &&
      view.start === before.start + before.heads * before.width
    );
  });
}
