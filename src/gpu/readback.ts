/** Reading GPU memory: copy into a mappable buffer, map it, copy out. */
import { GpuError } from "../errors.ts";
import type { Buffers } from "./buffers.ts";
import type { DeviceCore } from "./device-core.ts";
import type { ReuseCache } from "./reuse-cache.ts";

const MAP_READ_AND_COPY_DST = 0x1 | 0x8;
const MAP_MODE_READ = 0x1;
/** Up to this size staging comes in powers of two, which many readbacks can share; beyond, rounding up could double a gigabyte. */
const SHARED_BYTES = 1 << 16;

/** What reading needs of a GPU. */
export interface ReadableGpu {
  readonly core: DeviceCore;
  readonly buffers: Buffers;
  readonly reuseCache: ReuseCache;
}

/** One copy on its way from the GPU to the host: `encode` it, submit, `finish`, then take the bytes. */
export class Readback {
  #staging: GPUBuffer | undefined;
  #bytes: ArrayBuffer | undefined;

  /** Bytes `offset .. offset + size` of `buffer`. */
  constructor(
    private readonly gpu: ReadableGpu,
    private readonly buffer: GPUBuffer,
    private readonly offset: number,
    private readonly size: number,
  ) {}

  /** Adds the copy to a command encoder, outside of any pass. */
  encode(encoder: GPUCommandEncoder): void {
    this.#staging = this.gpu.reuseCache.acquire(stagingBytes(this.size), MAP_READ_AND_COPY_DST, "readback");
    encoder.copyBufferToBuffer(this.buffer, this.offset, this.#staging, 0, this.size);
  }

  /** Waits for the submitted copy. Call it within `guard`. */
  async finish(): Promise<void> {
    const staging = this.#staging as GPUBuffer;
    try {
      await staging.mapAsync(MAP_MODE_READ, 0, this.size);
      this.#bytes = staging.getMappedRange(0, this.size).slice(0);
      staging.unmap();
    } catch (error) {
      this.gpu.buffers.destroy(staging);
      throw error;
    }
    this.gpu.reuseCache.release(staging);
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
export async function readBuffer(
  gpu: ReadableGpu,
  buffer: GPUBuffer,
  offset: number,
  size: number,
): Promise<ArrayBuffer> {
  if (size === 0) return new ArrayBuffer(0);
  const readback = new Readback(gpu, buffer, offset, size);
  const { device } = gpu.core;
  return gpu.core.guard(`the readback of ${buffer.label}`, async () => {
    const encoder = device.createCommandEncoder({ label: "readback" });
    readback.encode(encoder);
    device.queue.submit([encoder.finish()]);
    await readback.finish();
    return readback.bytes;
  });
}

function stagingBytes(size: number): number {
  return size > SHARED_BYTES ? size : 2 ** Math.ceil(Math.log2(Math.max(256, size)));
}
