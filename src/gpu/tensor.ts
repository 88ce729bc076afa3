/** A tensor on the GPU: one buffer, a shape, and the right to destroy it. Row-major, without padding. */
import { GpuError } from "../errors.ts";
import * as s from "../schema/schema.ts";
import { type ReadableGpu, readBuffer } from "./readback.ts";

/** What a tensor holds: numbers in float32, or whole numbers. */
export type TensorType = "f32" | "u32";

/** A tensor in GPU memory. Who makes it destroys it. */
export class Tensor {
  #destroyed = false;

  constructor(
    /** Whose memory it is: the `Gpu` that made it. */
    readonly gpu: ReadableGpu,
    /** At least as long as the shape needs; elements are four bytes each. */
    readonly buffer: GPUBuffer,
    /** Sizes of the axes, the last one contiguous. */
    readonly shape: readonly number[],
    readonly dtype: TensorType = "f32",
    private readonly free: (buffer: GPUBuffer) => void = (buffer) => gpu.buffers.destroy(buffer),
  ) {}

  /** Number of elements. */
  get length(): number {
    return this.shape.reduce((product, size) => product * size, 1);
  }

  /** Whether `destroy()` was called. */
  get destroyed(): boolean {
    return this.#destroyed;
  }

  /**
   * Copies elements `start` to `end` to the host.
   * @throws GpuError `gpu/destroyed` after `destroy()`, `gpu/device-lost` when the device is gone.
   */
  async read(start = 0, end = this.length): Promise<Float32Array> {
    const bytes = await this.#readBytes(start, end);
    return new Float32Array(bytes);
  }

  /** The same for integer tensors. */
  async readU32(start = 0, end = this.length): Promise<Uint32Array> {
    const bytes = await this.#readBytes(start, end);
    return new Uint32Array(bytes);
  }

  async #readBytes(start: number, end: number): Promise<ArrayBuffer> {
    const [first, last] = [
      s.readArgument(s.wholeFrom(0), start, "read", "start"),
      s.readArgument(s.wholeFrom(0), end, "read", "end"),
    ];
    if (first > last || last > this.length) {
      throw new GpuError(
        "gpu/tensor-range",
        `Tensor ${this.buffer.label} has ${this.length} elements; ${first} to ${last} lies outside.`,
      );
    }
    if (this.#destroyed) throw destroyedError(this.buffer, "read it before destroy()");
    return readBuffer(this.gpu, this.buffer, start * 4, (end - start) * 4);
  }

  /** Frees the GPU memory. Calling it twice is allowed. */
  destroy(): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    this.free(this.buffer);
  }

  /** The end of a `using` block. */
  [Symbol.dispose](): void {
    this.destroy();
  }
}

/** The error of a tensor that is used after its end. */
export function destroyedError(buffer: GPUBuffer, remedy: string): GpuError {
  return new GpuError("gpu/destroyed", `Tensor ${buffer.label} was destroyed; ${remedy}.`);
}
