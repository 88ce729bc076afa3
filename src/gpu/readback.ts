/** Reading GPU memory: copy into a mappable buffer, map it, copy out. */
import { GpuError } from "../errors.ts";
import type { Gpu } from "./gpu.ts";

const MAP_READ_AND_COPY_DST = 0x1 | 0x8;
const MAP_MODE_READ = 0x1;
/** Up to this size staging comes in powers of two, which many readbacks can share; beyond, rounding up could double a gigabyte. */
const SHARED_BYTES = 1 << 16;

/** One copy on its way from the GPU to the host: `encode` it, submit, `finish`, then take the bytes. */
export class Readback {
  #staging: GPUBuffer | undefined;
  #bytes: ArrayBuffer | undefined;

  /** Bytes `offset .. offset + size` of `buffer`. */
  constructor(
    private readonly gpu: Gpu,
    private readonly buffer: GPUBuffer,
    private readonly offset: number,
    private readonly size: number,
  ) {}

  /** Adds the copy to a command encoder, outside of any pass. */
  encode(encoder: GPUCommandEncoder): void {
    this.#staging = this.gpu.recycler.acquire(stagingBytes(this.size), MAP_READ_AND_COPY_DST, "readback");
    encoder.copyBufferToBuffer(this.buffer, this.offset, this.#staging, 0, this.size);
  }

  /** Waits for the submitted copy. Call it within `Gpu.guard`. */
  async finish(): Promise<void> {
    const staging = this.#staging as GPUBuffer;
    try {
      await staging.mapAsync(MAP_MODE_READ, 0, this.size);
      this.#bytes = staging.getMappedRange(0, this.size).slice(0);
      staging.unmap();
    } catch (error) {
      this.gpu.destroyBuffer(staging);
      throw error;
    }
    this.gpu.recycler.release(staging);
  }

  /** What was read. */
  get bytes(): ArrayBuffer {
    if (!this.#bytes) {
      throw new GpuError(
        "gpu/not-read",
        `The readback of ${this.buffer.label} has not run. Submit its recorder first.`,
      );
    }
    return this.#bytes;
  }
}

/** The bytes `offset .. offset + size` of `buffer`, once the work submitted before this call has run. */
export async function readBuffer(gpu: Gpu, buffer: GPUBuffer, offset: number, size: number): Promise<ArrayBuffer> {
  if (size === 0) return new ArrayBuffer(0);
  const readback = new Readback(gpu, buffer, offset, size);
  return gpu.guard(`the readback of ${buffer.label}`, async () => {
    const encoder = gpu.device.createCommandEncoder({ label: "readback" });
    readback.encode(encoder);
    gpu.device.queue.submit([encoder.finish()]);
    await readback.finish();
    return readback.bytes;
  });
}

function stagingBytes(size: number): number {
  return size > SHARED_BYTES ? size : 2 ** Math.ceil(Math.log2(Math.max(256, size)));
}
