/** The uniform buffer for the parameters of one submission. The next one writes over it: writes to a queue are ordered. */
import type { Buffers } from "./buffers.ts";
import { UNIFORM_AND_COPY_DST } from "./usage.ts";

const LEAST_BYTES = 1 << 16;

export class ParamArena {
  #buffer: GPUBuffer | undefined;

  constructor(private readonly buffers: Buffers) {}

  /** The arena, at least `bytes` long. */
  get(bytes: number): GPUBuffer {
    if (!this.#buffer || this.#buffer.size < bytes) {
      const size = Math.max(LEAST_BYTES, 2 ** Math.ceil(Math.log2(bytes)));
      const larger = this.buffers.create(size, UNIFORM_AND_COPY_DST, "kernel parameters");
      if (this.#buffer) this.buffers.destroy(this.#buffer);
      this.#buffer = larger;
    }
    return this.#buffer;
  }

  /** Lets go of a buffer that has no memory. */
  evict(buffer: GPUBuffer): void {
    if (buffer !== this.#buffer) return;
    this.#buffer = undefined;
    this.buffers.destroy(buffer);
  }
}
