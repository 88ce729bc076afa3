/** Writes rows of a checkpoint to the GPU, in the form that the plan of loading gives them. */
import { abortable } from "../../abort.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import type { BufferSlice } from "../../gpu/recorder.ts";
import { ELEMENT_BYTES } from "../../kernels/storage.ts";
import type { Rows } from "./pieces.ts";
import type { PlannedMatrix } from "./plan.ts";
import { toStorage } from "./storage.ts";

export class Writer {
  #undrained = 0;

  /** `drainBytes`: the queue is drained after as much, or the driver's staging copies would add up to all that is written. */
  constructor(
    private readonly gpu: Gpu,
    private readonly drainBytes = Number.POSITIVE_INFINITY,
    private readonly signal?: AbortSignal | undefined,
  ) {}

  /** Writes rows to the parts of a matrix that hold them. */
  async write(matrix: PlannedMatrix, slices: readonly BufferSlice[], { firstRow, bytes, dtype }: Rows): Promise<void> {
    const { layout, outWidth, width, stride, parts } = matrix;
    // Rows are of one tensor, and parts of several storages end where a tensor does.
    const storage = parts.find((part) => firstRow < part.firstRow + part.rows)?.storage ?? matrix.storage;
    const rowBytes = stride * ELEMENT_BYTES[storage];
    const stored = toStorage(bytes, dtype, storage, layout === "conv1d" ? outWidth : width, stride);
    const start = firstRow * rowBytes;
    for (const [index, part] of parts.entries()) {
      const partStart = part.firstRow * rowBytes;
      const from = Math.max(start, partStart);
      const to = Math.min(start + stored.byteLength, partStart + part.bytes);
      if (from >= to || (part.storage ?? matrix.storage) !== storage) continue;
      const written = stored.subarray(from - start, to - start) as Uint8Array<ArrayBuffer>;
      this.gpu.device.queue.writeBuffer((slices[index] as BufferSlice).buffer, from - partStart, written);
    }
    await this.#drain(stored.byteLength);
  }

  async #drain(written: number): Promise<void> {
    this.#undrained += written;
    if (this.#undrained < this.drainBytes) return;
    this.#undrained = 0;
    await abortable(this.gpu.device.queue.onSubmittedWorkDone(), this.signal);
  }
}
